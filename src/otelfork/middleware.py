"""`app = OtelMiddleware(app)`: tells what kind of application it got, and returns the middleware of that kind."""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import weakref
from collections.abc import Callable, Iterable
from typing import Any, cast

from opentelemetry import metrics, trace

from otelfork import bootstrap, forks, semconv, workers
from otelfork.asgi import ASGIMiddleware
from otelfork.build.owned import Own, enable
from otelfork.exits import watching
from otelfork.interfaces import detect_interface, single
from otelfork.lane.folding import Folding
from otelfork.prometheus.inside import answer_asgi, answer_wsgi
from otelfork.proxies import ProxyHistogram, ProxyTracer
from otelfork.request import naming
from otelfork.request.hooks import Hooks
from otelfork.request.instruments import ACTIVE_REQUESTS, SCOPE, Instruments, Lane
from otelfork.run import runs
from otelfork.settings import SettingsError
from otelfork.settings.http import HttpSettings
from otelfork.version import __version__
from otelfork.wsgi import WSGIMiddleware

_logger = logging.getLogger("otelfork")
_HOOKS = frozenset(Hooks.__dataclass_fields__)


class OtelMiddleware:
    """Traces and measures every request of a WSGI or ASGI application.

    The object returned is a `WSGIMiddleware` or an `ASGIMiddleware` that looks to servers like the application it wraps, and
    passes unknown attributes on to it. Building it makes no thread, no connection and takes no global provider seat.

    Args:
        app: a WSGI application `(environ, start_response)`, an ASGI 3 application `(scope, receive, send)`, or an ASGI 2
            application `(scope) -> (receive, send)`.
        interface: `wsgi` or `asgi`, where it cannot be told from the application.
        tracer_provider: use this provider and not the global one; also `tracer`.
        meter_provider: use this provider and not the global one; also `meter`.
        metrics_path: where inside the application Prometheus is answered, for all workers; such requests are not recorded.
        exclude_spans: accepted for those who come from opentelemetry-instrumentation-asgi; there are no such spans here.
        options: those of `HttpSettings.load` and of `Hooks`.

    Raises:
        TypeError: the kind of application is unclear (name `interface=`), or an option is unknown.
        SettingsError: `metrics_path` is given, and the extra `prometheus` is not installed.
    """

    def __new__(  # noqa: PYI034 - the class is chosen, not inherited
        cls,
        app: Any,
        *,
        interface: str | None = None,
        metrics_path: str | None = None,
        **options: Any,  # noqa: ARG004
    ) -> OtelMiddleware:
        """Choose the class by the application's kind."""
        kind = interface or detect_interface(app)
        if kind not in {"wsgi", "asgi"}:
            raise SettingsError("interface", kind, "wsgi or asgi")
        if metrics_path is not None:
            return object.__new__(_ScrapedWSGI if kind == "wsgi" else _ScrapedASGI)
        return object.__new__(_WSGI if kind == "wsgi" else _ASGI)

    def __init__(
        self,
        app: Any,
        *,
        interface: str | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        tracer: trace.Tracer | None = None,
        meter: metrics.Meter | None = None,
        exclude_spans: Iterable[str] | None = None,
        metrics_path: str | None = None,
        **options: Any,
    ) -> None:
        del interface, exclude_spans
        _known(options)
        hooks = Hooks(**{name: options.pop(name) for name in tuple(options) if name in _HOOKS})
        settings, usable = _http_settings(options)
        own = tracer_provider is not None or tracer is not None
        own = own and (meter_provider is not None or meter is not None)
        usable = usable and (own or bootstrap.ensure_installed())
        self._metrics_path = metrics_path
        if metrics_path is not None:
            bootstrap.answer_scrapes()
        make = functools.partial(
            Instruments.create,
            tracer_provider,
            meter_provider,
            tracer=tracer,
            meter=meter,
            cardinality_limit=settings.cardinality_limit,
            old=settings.old_names,
        )
        instruments = _off if not usable else Own(make()) if own else _PerGeneration(make)
        watching.hypercorn()
        if isinstance(self, _WSGI):
            watching.uvicorn()
        self._application = app
        chosen = cast(Any, super())
        called = single(app) if isinstance(self, _ASGI) else app
        chosen.__init__(called, instruments=instruments, settings=settings, hooks=hooks)
        if bootstrap.scraped() and runs.in_worker():
            forks.ensure()  # a worker answers scrapes from its start

    def __getattr__(self, name: str) -> Any:
        """Pass on to the application what a middleware does not have: `app.route`, `app.config`, `app.state`."""
        if name.startswith("__") or name == "_application":
            raise AttributeError(name)
        return getattr(self._application, name)


class _WSGI(OtelMiddleware, WSGIMiddleware):
    """What `OtelMiddleware(wsgi_app)` returns."""


class _ASGI(OtelMiddleware, ASGIMiddleware):
    """What `OtelMiddleware(asgi_app)` returns."""


class _ScrapedWSGI(_WSGI):
    """What `OtelMiddleware(wsgi_app, metrics_path=...)` returns."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == self._metrics_path:
            return answer_wsgi(bootstrap.page(), environ, start_response)
        return super().__call__(environ, start_response)


class _ScrapedASGI(_ASGI):
    """What `OtelMiddleware(asgi_app, metrics_path=...)` returns."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and _inner_path(scope) == self._metrics_path:
            await answer_asgi(bootstrap.page(), scope, send)
            return
        await super().__call__(scope, receive, send)


def _inner_path(scope: Any) -> str:
    """Return the path below the mount: servers and frameworks differ in whether `path` has it."""
    path, mount = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(mount) :] if mount and path.startswith(f"{mount}/") else path


class _PerGeneration:
    """The instruments of the current generation; made anew in each process. Asking is the first use."""

    __slots__ = ("__weakref__", "_generation", "_instruments", "_make")

    def __init__(self, make: Callable[[], Instruments]) -> None:
        self._make = make
        _made.add(self)
        self._generation: forks.Generation | None = None
        self._instruments: Instruments | None = None

    def __call__(self) -> Instruments | None:
        generation = forks.ensure()
        if generation is self._generation:
            return self._instruments
        made = None if generation is None else self._make()
        if made is not None:
            made.board = getattr(generation, "board", None)
            made.lane = _lane(generation, made.tracer)
            made.folding = _folding(generation, made)
            enable(made, generation)
        self._instruments = made
        self._generation = generation
        workers.volunteer()
        return made

    def renew(self) -> None:
        """Make other instruments for the next request; what runs ends with those that it began with."""
        self._generation = None
        forks.change()


_made: weakref.WeakSet[_PerGeneration] = weakref.WeakSet()


def use_names(names: naming.Names | None) -> None:
    """Give requests to come a second set of names, or none, in the middlewares that there are as well (see `request.naming`)."""
    if names is naming.current:
        return
    naming.use(names)
    for each in list(_made):
        each.renew()


def _lane(generation: Any, tracer: trace.Tracer) -> Lane | None:
    """Return the request lane where the tracer is one of ours that follows the process."""
    make = getattr(generation, "lane", None)
    return make(tracer.real()) if make is not None and isinstance(tracer, ProxyTracer) else None


def _folding(generation: Any, made: Instruments) -> Folding | None:
    """Return what takes the figures of requests where the instruments are those of our own scope, and follow the process."""
    folding: Folding | None = getattr(generation, "folding", None)
    histograms = (made.duration, made.request_body_size, made.response_body_size)
    real = [each.real() for each in histograms if isinstance(each, ProxyHistogram)]
    ours = [each for each in real if _is_ours(each)]
    if folding is None or len(ours) != len(histograms):
        return None
    meter = generation.meter_provider.get_meter(SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
    return folding if folding.join(ours, meter, ACTIVE_REQUESTS) else None


def _is_ours(instrument: Any) -> bool:
    scope = getattr(instrument, "instrumentation_scope", None)
    return (getattr(scope, "name", ""), getattr(scope, "schema_url", "")) == (SCOPE, semconv.SCHEMA_URL)


def switch_off(app: OtelMiddleware) -> None:
    """Let every request to come pass through untouched, wherever the middleware is held; for uninstrumentation."""
    cast(Any, app)._edge.switch_off()  # noqa: SLF001 - of a class of this module


def _off() -> None:
    """Telemetry is disabled or misconfigured: requests pass through."""


def _known(options: Iterable[str]) -> None:
    """Refuse an option that there is not, by the name that the user called."""
    known = {*_HOOKS, *inspect.signature(HttpSettings.load).parameters} - {"environment"}
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f": is {near[0]} meant?" if near else ""
            raise TypeError(f"OtelMiddleware has no option {name!r}{hint}")


def _http_settings(options: dict[str, Any]) -> tuple[HttpSettings, bool]:
    """Return the settings and whether they can be used; a bad one is logged once and the application runs untraced."""
    try:
        return HttpSettings.load(**options), True
    except SettingsError as error:
        bootstrap.complain(error)
        return HttpSettings(), False
