"""Frameworks that leave no route in environ or scope are asked for it, each by a public hook of its own.

Only frameworks that the program has imported already are touched; none is imported here before. Falcon gets a middleware,
Pyramid a subscriber, Quart a receiver of its `request_started` signal. Django's handler makes its requests through us, and
each request is asked what it was resolved to; a handler that cannot be found makes them alone, and the route is resolved
once more (`django.urls.resolve`, which knows the request's own `urlconf`).
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from otelfork.request.hooks import once
from otelfork.request.nesting import applications
from otelfork.request.origin import MARK
from otelfork.request.routes import DJANGO


def prepare(app: object) -> None:
    """Install the hooks for the frameworks that are imported, and for their applications in this one."""
    for listen in (_django, _quart):
        _guarded(listen, app)
    imported = [install for name, install in _INSIDE.items() if name in sys.modules]
    for each in applications(app) if imported else ():
        for install in imported:
            _guarded(install, each)


def silence_fastapi(scope: Mapping[str, Any]) -> None:
    """Turn off the telemetry of a FastAPI application that has this middleware among its own.

    FastAPI (0.165 and later) begins its span before its middlewares are called, with its own names and without our redaction.
    Its configuration is a private name: there is no public switch after construction. Where the name is gone, FastAPI's span
    and metrics stand, and this middleware adds none; either way a request is counted once.
    """
    config = getattr(scope.get("app"), "_telemetry", None)
    if isinstance(config, dict) and "tracing" in config:
        config.update(tracing=False, metrics=False, logs=False)


def _guarded(install: Callable[[object], None], app: object) -> None:
    try:
        install(app)
    except Exception:
        once("a framework's routes cannot be read", f"frameworks{install.__name__}")


def _note(carrier: Mapping[str, Any], route: object) -> None:
    """Tell the exchange that runs in a carrier which route its framework chose."""
    exchange = carrier.get(MARK)
    if exchange is not None and isinstance(route, str):
        prefix = str(carrier.get("SCRIPT_NAME") or carrier.get("root_path") or "")
        exchange.route = prefix.rstrip("/") + (route if route.startswith("/") else "/" + route)


def _django(_: object) -> None:
    signals = sys.modules.get("django.core.signals")
    if signals is not None:
        signals.request_started.connect(_on_django_request, weak=False, dispatch_uid="otelfork")


def _on_django_request(environ: Any = None, scope: Any = None, **_: object) -> None:
    carrier = environ if environ is not None else scope
    exchange = carrier.get(MARK) if carrier is not None else None
    if exchange is not None:
        carrier[DJANGO] = _django_route(carrier)
        if carrier is not exchange.carriers[-1]:  # a copy that a middleware in between has made
            exchange.carriers.append(carrier)


def _django_route(carrier: Mapping[str, Any]) -> Callable[[], str | None]:
    def find() -> str | None:
        urls = sys.modules["django.urls"]
        prefix, path = _django_path(carrier)
        try:
            route: str = urls.resolve(path).route
        except urls.Resolver404:
            return None
        return f"{prefix}/{route}"

    return find


def _django_path(carrier: Mapping[str, Any]) -> tuple[str, str]:
    """Return script name and path as Django's requests split them."""
    if "PATH_INFO" in carrier:
        prefix = str(carrier.get("SCRIPT_NAME") or "").rstrip("/")
        return prefix, str(carrier["PATH_INFO"]).encode("latin-1").decode("utf-8", "replace") or "/"
    prefix = str(carrier.get("root_path") or "").rstrip("/")
    return prefix, str(carrier["path"]).removeprefix(prefix) or "/"


def _django_handler(app: object) -> None:
    handlers = sys.modules.get("django.core.handlers.base")
    if handlers is not None and isinstance(app, handlers.BaseHandler):
        handler: Any = app
        make = getattr(handler, "request_class", None)
        if make is not None and not isinstance(make, _DjangoRequests):
            handler.request_class = _DjangoRequests(make)


class _DjangoRequests(functools.partial[Any]):
    """Makes a handler's requests with the class that it has for them, and notes each where its exchange runs."""

    def __call__(self, carrier: Any, /, *args: Any, **keywords: Any) -> Any:
        """Return the request of an environ or scope."""
        request = super().__call__(carrier, *args, **keywords)
        if MARK in carrier:
            # Weak: the request holds the carrier, and a circle would wait for the garbage collector.
            carrier[DJANGO] = _resolved(weakref.ref(request), _django_path(carrier)[0])
        return request


def _resolved(made: Callable[[], Any], prefix: str) -> Callable[[], str | None]:
    def find() -> str | None:
        route = getattr(getattr(made(), "resolver_match", None), "route", None)
        return None if route is None else f"{prefix}/{route}"

    return find


def _quart(_: object) -> None:
    signals = sys.modules.get("quart.signals")
    if signals is not None:
        signals.request_started.connect(_on_quart_request, weak=False)


async def _on_quart_request(*_: object, **__: object) -> None:
    request = sys.modules["quart"].request
    _note(request.scope, getattr(request.url_rule, "rule", None))


def _falcon(app: object) -> None:
    falcon = sys.modules.get("falcon")
    if falcon is not None and isinstance(app, falcon.App):
        app.add_middleware(_FalconRoutes())


class _FalconRoutes:
    """A Falcon middleware that is called after routing and does nothing but look."""

    def process_resource(self, request: Any, *_: object) -> None:
        """Note the route of a WSGI request."""
        _note(request.env, request.uri_template)

    async def process_resource_async(self, request: Any, *_: object) -> None:
        """Note the route of an ASGI request."""
        _note(request.scope, request.uri_template)


def _pyramid(app: object) -> None:
    router = sys.modules.get("pyramid.router")
    if router is not None and isinstance(app, router.Router):
        events = sys.modules["pyramid.events"]
        app.registry.registerHandler(_on_pyramid_request, (events.ContextFound,))


def _on_pyramid_request(event: Any) -> None:
    route = getattr(event.request, "matched_route", None)
    _note(event.request.environ, getattr(route, "pattern", None))


_INSIDE: Mapping[str, Callable[[object], None]] = {"django": _django_handler, "falcon": _falcon, "pyramid": _pyramid}
"""What to do with an application of a framework, wherever in the chain of middlewares it stands."""
