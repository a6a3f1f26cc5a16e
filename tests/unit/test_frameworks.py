"""Each framework's route, named right by a real request through the framework's own application."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.recording import Recording, call_asgi, call_wsgi, environ, scope

GET_ITEM = "/shop/items/42"


def flask_app() -> Any:
    import flask

    app = flask.Flask("shop")
    blueprint = flask.Blueprint("shop", "shop", url_prefix="/shop")
    blueprint.route("/items/<int:item>")(lambda item: str(item))
    app.register_blueprint(blueprint)
    return app


def bottle_app(prefix: str = "/shop/") -> Any:
    import bottle

    inner, app = bottle.Bottle(), bottle.Bottle()
    inner.route("/items/<item:int>")(lambda item: str(item))
    app.mount(prefix, inner)
    return app


def old_bottle_app() -> Any:
    return bottle_app("/shop")  # mounted as a WSGI application of its own, as Bottle did before 0.13


def falcon_app() -> Any:
    import falcon

    app = falcon.App()
    app.add_route("/shop/items/{item:int}", _FalconItem())
    return app


def falcon_asgi_app() -> Any:
    import falcon.asgi

    app = falcon.asgi.App()
    app.add_route("/shop/items/{item:int}", _AsyncFalconItem())
    return app


class _FalconItem:
    def on_get(self, request: Any, response: Any, item: int) -> None:
        response.media = item


class _AsyncFalconItem:
    async def on_get(self, request: Any, response: Any, item: int) -> None:
        response.media = item


def pyramid_app() -> Any:
    from pyramid.config import Configurator
    from pyramid.response import Response

    with Configurator() as config:
        config.add_route("item", "/shop/items/{item}")
        config.add_view(lambda request: Response("ok"), route_name="item")
        return config.make_wsgi_app()


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    async def item(request: Any) -> Any:
        return PlainTextResponse(str(request.path_params["item"]))

    return Starlette(routes=[Mount("/shop", routes=[Route("/items/{item:int}", item)])])


def fastapi_app() -> Any:
    import fastapi

    app = fastapi.FastAPI()
    router = fastapi.APIRouter(prefix="/shop")

    @router.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    app.include_router(router)
    return app


def litestar_app() -> Any:
    import litestar

    @litestar.get("/items/{item:int}")
    async def item(item: int) -> int:
        return item

    return litestar.Litestar([litestar.Router("/shop", route_handlers=[item])])


def quart_app() -> Any:
    import quart

    app = quart.Quart("shop")
    blueprint = quart.Blueprint("shop", "shop", url_prefix="/shop")

    @blueprint.route("/items/<int:item>")
    async def item(item: int) -> str:
        return str(item)

    app.register_blueprint(blueprint)
    return app


@pytest.fixture(scope="module")
def django_settings() -> Iterator[None]:
    """Django, configured once for this process, with the item's route behind an `include`."""
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.test import override_settings
    from django.urls import include, path

    urls = types.ModuleType("tests_shop_urls")
    item = path("items/<int:item>", lambda request, item: HttpResponse(str(item)))
    urls.urlpatterns = [path("shop/", include([item]))]  # type: ignore[attr-defined]
    sys.modules[urls.__name__] = urls
    if not settings.configured:
        settings.configure(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="test", LOGGING_CONFIG=None)
        django.setup()
    with override_settings(ROOT_URLCONF=urls.__name__):
        yield


def django_wsgi_app() -> Any:
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def django_asgi_app() -> Any:
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


WSGI_APPS = {
    "flask": (flask_app, "/shop/items/<int:item>"),
    "bottle": (bottle_app, "/shop/items/<item:int>"),
    "old-bottle": (old_bottle_app, "/shop/items/<item:int>"),
    "falcon": (falcon_app, "/shop/items/{item:int}"),
    "pyramid": (pyramid_app, "/shop/items/{item}"),
    "django": (django_wsgi_app, "/shop/items/<int:item>"),
}
ASGI_APPS = {
    "starlette": (starlette_app, "/shop/items/{item}"),
    "fastapi": (fastapi_app, "/shop/items/{item}"),
    "litestar": (litestar_app, "/shop/items/{item}"),
    "quart": (quart_app, "/shop/items/<int:item>"),
    "falcon": (falcon_asgi_app, "/shop/items/{item:int}"),
    "django": (django_asgi_app, "/shop/items/<int:item>"),
}


def serve(interface: str, app: Any, path: str, prefix: str = "") -> Recording:
    recording = Recording()
    if interface == "wsgi":
        call_wsgi(recording.wsgi(app), environ(SCRIPT_NAME=prefix, PATH_INFO=path))
    else:
        call_asgi(recording.asgi(app), scope(path=prefix + path, raw_path=None, root_path=prefix))
    return recording


ROWS = [
    pytest.param(interface, make, route, id=f"{name}-{interface}")
    for interface, apps in (("wsgi", WSGI_APPS), ("asgi", ASGI_APPS))
    for name, (make, route) in apps.items()
]


pytestmark = [
    pytest.mark.usefixtures("django_settings"),
    # What the frameworks say of the standard library, and of the short way to declare a route, is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.mark.parametrize(("interface", "make", "route"), ROWS)
def test_the_route_names_the_span(interface: str, make: Callable[[], Any], route: str) -> None:
    """The span is named by the method and the whole route template, and both signals carry the route."""
    recording = serve(interface, make(), GET_ITEM)
    span = recording.span
    seen = (span.name, span.attributes["http.route"], span.attributes["http.response.status_code"])
    metric = [point.attributes.get("http.route") for point in recording.points("http.server.request.duration")]
    assert ((f"GET {route}", route, 200), [route]) == (seen, metric)


@pytest.mark.parametrize(("interface", "make", "route"), ROWS)
def test_a_404_has_no_route(interface: str, make: Callable[[], Any], route: str) -> None:
    """A path that no route matched names nothing."""
    recording = serve(interface, make(), "/shop/nothing/here")
    span = recording.span
    seen = (span.name, span.attributes.get("http.route"), span.attributes["http.response.status_code"])
    expected = ("GET", None, 404)
    assert expected == seen


def handing_on(app: Any) -> Any:
    """A middleware that hands on what it got."""
    return lambda *arguments: app(*arguments)


class Copying:
    """A middleware that hands on a copy of the environ or scope."""

    def __init__(self, app: Any) -> None:
        self.inner = app

    def __call__(self, carrier: Any, *arguments: Any) -> Any:
        return self.inner({**carrier}, *arguments)


NOTED = [row for row in ROWS if row.id.startswith(("django", "falcon", "pyramid", "quart"))]
"""Frameworks whose own hook tells the route, and does it in the copy as well."""


@pytest.mark.parametrize(
    ("between", "interface", "make", "route"),
    [pytest.param(handing_on, *row.values, id=row.id) for row in ROWS]
    + [pytest.param(Copying, *row.values, id=f"{row.id}-copy") for row in NOTED],
)
def test_a_middleware_in_between_hides_no_route(
    between: Callable[[Any], Any], interface: str, make: Callable[[], Any], route: str
) -> None:
    """Middlewares of somebody else's stand between: the route is found all the same."""
    assert f"GET {route}" == serve(interface, between(between(make())), GET_ITEM).span.name


# Falcon on ASGI routes by the whole path: it does not work under a root path at all.
@pytest.mark.parametrize(("interface", "make", "route"), [row for row in ROWS if row.id != "falcon-asgi"])
def test_the_server_s_mount_is_part_of_the_route(interface: str, make: Callable[[], Any], route: str) -> None:
    """Where the server mounts the application under a prefix, the route includes it."""
    recording = serve(interface, make(), GET_ITEM, prefix="/app")
    assert f"GET /app{route}" == recording.span.name
