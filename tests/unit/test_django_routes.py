"""Django's route is the one that its request was resolved to, whatever its middlewares did to path and urlconf."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from tests.unit.recording import Recording, call_asgi, call_wsgi, environ, scope

ROOT, TENANT, HERE = "tests_root_urls", "tests_tenant_urls", __name__


def urlconf(request: Any) -> None:
    """Give the request the tenant's routes."""
    request.urlconf = TENANT


def switching(get_response: Any) -> Any:
    """A middleware that chooses the routes, on both sides."""
    from django.utils.decorators import sync_and_async_middleware

    @sync_and_async_middleware
    def either(get_response: Any) -> Any:
        async def asynchronous(request: Any) -> Any:
            urlconf(request)
            return await get_response(request)

        def synchronous(request: Any) -> Any:
            urlconf(request)
            return get_response(request)

        return asynchronous if iscoroutinefunction(get_response) else synchronous

    return either(get_response)


switching.sync_capable = switching.async_capable = True  # type: ignore[attr-defined]


def switching_in_a_thread(get_response: Any) -> Any:
    """The same, synchronous only."""

    def middleware(request: Any) -> Any:
        urlconf(request)
        return get_response(request)

    return middleware


def switching_back(get_response: Any) -> Any:
    """A middleware that puts the thread's routes back, as libraries for tenants do."""

    def middleware(request: Any) -> Any:
        from django.urls import set_urlconf

        urlconf(request)
        response = get_response(request)
        set_urlconf(ROOT)
        return response

    return middleware


def stripping(get_response: Any) -> Any:
    """A middleware that takes the tenant out of the path."""

    def middleware(request: Any) -> Any:
        urlconf(request)
        request.path_info = request.path_info.removeprefix("/acme")
        return get_response(request)

    return middleware


def answering_itself(get_response: Any) -> Any:
    """A middleware that never asks for a route."""

    def middleware(request: Any) -> Any:
        from django.http import HttpResponse

        return HttpResponse("closed", status=503)

    return middleware


class Hiding:
    """A middleware that nobody can look behind."""

    def __init__(self, app: Any) -> None:
        applications.append(app)
        self.position = len(applications) - 1

    def __call__(self, *arguments: Any) -> Any:
        """Pass on."""
        return sys.modules[HERE].applications[self.position](*arguments)


applications: list[Any] = []


@pytest.fixture(autouse=True)
def django() -> Iterator[None]:
    """Django with two sets of routes."""
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.test import override_settings
    from django.urls import path

    for name, route in ((ROOT, "top/<int:item>"), (TENANT, "tenant/<int:item>")):
        urls = types.ModuleType(name)
        urls.urlpatterns = [path(route, lambda request, item: HttpResponse(str(item)))]  # type: ignore[attr-defined]
        sys.modules[name] = urls
    if not settings.configured:
        settings.configure(ROOT_URLCONF=ROOT, ALLOWED_HOSTS=["*"], SECRET_KEY="test", LOGGING_CONFIG=None)
        django.setup()
    with override_settings(ROOT_URLCONF=ROOT, ALLOWED_HOSTS=["*"]):
        yield


def serve(interface: str, middleware: str, path: str, wrap: Callable[[Any], Any] = lambda app: app) -> Recording:
    """Make one request of an application with a Django middleware of this module."""
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.test import override_settings

    recording = Recording()
    with override_settings(MIDDLEWARE=[f"{HERE}.{middleware}"] if middleware else []):
        if interface == "wsgi":
            call_wsgi(recording.wsgi(wrap(get_wsgi_application())), environ(PATH_INFO=path))
        else:
            app = wrap(get_asgi_application())

            async def asgi(given: Any, receive: Any, send: Any) -> None:
                await app(given, receive, send)

            call_asgi(recording.asgi(asgi), scope(path=path, raw_path=None))
    return recording


interfaces = pytest.mark.parametrize("interface", ["wsgi", "asgi"])


@pytest.mark.parametrize(
    ("middleware", "path", "name"),
    [
        ("", "/top/1", "GET /top/<int:item>"),
        ("", "/tenant/1", "GET"),
        ("switching", "/tenant/1", "GET /tenant/<int:item>"),
        ("switching", "/top/1", "GET"),
        ("switching_in_a_thread", "/tenant/1", "GET /tenant/<int:item>"),
        ("switching_back", "/tenant/1", "GET /tenant/<int:item>"),
        ("stripping", "/acme/tenant/1", "GET /tenant/<int:item>"),
        ("answering_itself", "/top/1", "GET"),
    ],
)
@interfaces
def test_the_route_is_the_request_s_own(interface: str, middleware: str, path: str, name: str) -> None:
    """A urlconf of the request's own, a path that was changed, an answer without routing: the resolver's match counts."""
    assert name == serve(interface, middleware, path).span.name


@pytest.mark.parametrize("middleware", ["switching", "switching_in_a_thread"])
@interfaces
def test_a_handler_that_cannot_be_found_is_resolved_by_the_request_s_urlconf(interface: str, middleware: str) -> None:
    """Without the request the path is resolved once more, with the routes that were active for it."""
    assert "GET /tenant/<int:item>" == serve(interface, middleware, "/tenant/1", Hiding).span.name


def test_requests_stay_django_s_own() -> None:
    """The class of a request is the handler's, so that pickling and comparing types work as ever."""
    from django.core.handlers.wsgi import WSGIRequest
    from django.core.wsgi import get_wsgi_application

    handler = get_wsgi_application()
    Recording().wsgi(handler)
    request = handler.request_class(environ(PATH_INFO="/top/1"))
    assert (WSGIRequest, "/top/1") == (type(request), pickle.loads(pickle.dumps(request)).path)
