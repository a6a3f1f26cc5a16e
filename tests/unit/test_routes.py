"""Routes composed of mounts: the templates of all of them, and never a value that a client sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.recording import Recording, call_asgi, call_wsgi, environ, scope

from otelfork.request.routes import in_environs, in_scopes


def starlette_routes() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    async def item(request: Any) -> Any:
        return PlainTextResponse("ok")

    inner = Starlette(routes=[Route("/items/{item}", item)])
    return Starlette(
        routes=[
            Mount("/static", StaticFiles(directory=".", check_dir=False)),
            Mount("/users/{user}", routes=[Mount("/shops/{shop:int}", routes=[Route("/items/{item}", item)])]),
            Mount("/inner", inner),
            Route("/only-post", item, methods=["POST"]),
            Route("/", item),
        ]
    )


def fastapi_routes() -> Any:
    import fastapi

    app, sub = fastapi.FastAPI(), fastapi.FastAPI()
    router = fastapi.APIRouter(prefix="/v1")
    router.get("/items/{item}")(lambda item: item)
    nested = fastapi.APIRouter(prefix="/users/{user}")
    nested.include_router(router)
    sub.get("/items/{item}")(lambda item: item)
    app.include_router(nested, prefix="/api")
    app.mount("/sub", sub)
    app.mount("/tenants/{tenant}", sub)
    return app


ROWS = [
    (starlette_routes, "/users/7/shops/7/items/7", "/users/{user}/shops/{shop}/items/{item}"),
    (starlette_routes, "/inner/items/7", "/inner/items/{item}"),
    (starlette_routes, "/inner/none", None),
    (starlette_routes, "/users/7/none", None),
    (starlette_routes, "/static/none.css", None),
    (starlette_routes, "/only-post", "/only-post"),
    (starlette_routes, "/", "/"),
    (fastapi_routes, "/api/users/7/v1/items/7", "/api/users/{user}/v1/items/{item}"),
    (fastapi_routes, "/sub/items/7", "/sub/items/{item}"),
    (fastapi_routes, "/tenants/7/items/7", "/tenants/{tenant}/items/{item}"),
    (fastapi_routes, "/sub/none", None),
    (fastapi_routes, "/docs", "/docs"),
]


@pytest.mark.parametrize(("make", "path", "route"), ROWS)
@pytest.mark.parametrize("prefix", ["", "/app"])
def test_mounts_are_composed(make: Any, path: str, route: str | None, prefix: str) -> None:
    """The route is the mounts' templates and the route's own, under the server's prefix."""
    recording = Recording()
    call_asgi(recording.asgi(make()), scope(path=prefix + path, raw_path=None, root_path=prefix))
    expected = None if route is None else prefix + route
    assert expected == recording.attributes.get("http.route")


@pytest.mark.parametrize("around", ["wrapped", "inside"])
def test_the_route_is_found_around_and_inside_the_application(around: str) -> None:
    """With add_middleware the middleware stands inside the application, and finds the route as well."""
    recording = Recording()
    app = starlette_routes()
    if around == "wrapped":
        app = recording.asgi(app)
    else:
        app.add_middleware(
            type(recording.asgi(None)), instruments=lambda: recording.instruments, settings=recording.settings
        )
    call_asgi(app, scope(path="/users/7/shops/8/items/9", raw_path=None))
    expected = "GET /users/{user}/shops/{shop}/items/{item}"
    assert expected == recording.span.name


def test_dispatched_applications_have_their_prefix() -> None:
    """werkzeug's dispatcher moves the prefix to SCRIPT_NAME, which is part of the route."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    import flask

    recording = Recording()
    shop = flask.Flask("shop")
    shop.route("/items/<item>")(lambda item: item)
    app = DispatcherMiddleware(flask.Flask("root"), {"/shop": shop})
    call_wsgi(recording.wsgi(app), environ(PATH_INFO="/shop/items/1"))
    expected = "GET /shop/items/<item>"
    assert expected == recording.span.name


def test_a_route_inside_wsgi_app_is_found() -> None:
    """`app.wsgi_app = OtelMiddleware(app.wsgi_app)` stands inside the application, and finds the route."""
    import flask

    recording = Recording()
    app = flask.Flask("shop")
    app.route("/items/<item>")(lambda item: item)
    app.wsgi_app = recording.wsgi(app.wsgi_app)  # type: ignore[method-assign]
    call_wsgi(app, environ(PATH_INFO="/items/1"))
    expected = "GET /items/<item>"
    assert expected == recording.span.name


@pytest.mark.parametrize(
    ("path", "route"), [("/users/7/shops/8/items/9", "/users/{user}/shops/{shop}/items/{item}"), ("/", "/")]
)
def test_a_router_that_keeps_no_route_is_searched_for_the_endpoint(path: str, route: str) -> None:
    """Starlette before 1.0 leaves the endpoint only: its route is found in the router."""
    recording = Recording()
    app = starlette_routes()

    class Forgetful(dict[str, Any]):
        """A scope that cannot hold a route."""

        def __setitem__(self, key: str, value: Any) -> None:
            if key != "route":
                super().__setitem__(key, value)

    async def old(given: dict[str, Any], receive: Any, send: Any) -> None:
        inner = Forgetful(given)
        given["otelfork.exchange"].carriers.append(inner)
        await app(inner, receive, send)

    call_asgi(recording.asgi(old), scope(path=path, raw_path=None))
    assert route == recording.attributes.get("http.route")


def test_of_several_environs_the_innermost_route_counts() -> None:
    """A middleware in between has made a copy: what is in that one, else in the one around it, as text that can be exported."""
    outer, inner = ({"bottle.route": SimpleNamespace(rule=rule)} for rule in ("/outer", "/inner/\ud800"))
    found = [in_environs(carriers, 200) for carriers in ([outer, inner], [outer, {}], [{}, {}], [{}])]
    assert ["/inner/?", "/outer", None, None] == found


def test_of_several_scopes_the_innermost_route_counts() -> None:
    """The same over ASGI."""
    outer, inner = ({"path_template": template} for template in ("/outer", "/inner/\ud800"))
    found = [in_scopes(carriers, 200) for carriers in ([outer, inner], [outer, {}], [{}, {}], [{}])]
    assert ["/inner/?", "/outer", None, None] == found
