"""What a careful user writes with the SDK alone: one span with ten attributes, duration, active requests; and, with
prometheus_client alone, the two metrics without a trace. Neither does more than it has to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, TracerProvider

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class _Environ(Getter[dict[str, Any]]):
    def get(self, carrier: dict[str, Any], key: str) -> list[str] | None:
        value = carrier.get("HTTP_" + key.upper().replace("-", "_"))
        return None if value is None else [value]

    def keys(self, carrier: dict[str, Any]) -> list[str]:
        return [key[5:].lower().replace("_", "-") for key in carrier if key.startswith("HTTP_")]


class _Headers(Getter[dict[bytes, bytes]]):
    def get(self, carrier: dict[bytes, bytes], key: str) -> list[str] | None:
        value = carrier.get(key.lower().encode())
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: dict[bytes, bytes]) -> list[str]:
        return [key.decode("latin-1") for key in carrier]


_ENVIRON = _Environ()
_HEADERS = _Headers()


class _Handles:
    def __init__(self, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
        self.tracer = tracer_provider.get_tracer("by-hand", "1")
        meter = meter_provider.get_meter("by-hand", "1")
        self.duration = meter.create_histogram(
            "http.server.request.duration", unit="s", explicit_bucket_boundaries_advisory=BUCKETS
        )
        self.active = meter.create_up_down_counter("http.server.active_requests", unit="{request}")


class SdkWsgi:
    """A WSGI middleware by hand."""

    def __init__(self, app: Any, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
        self.app = app
        self._otel = _Handles(tracer_provider, meter_provider)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        otel = self._otel
        method, scheme = environ["REQUEST_METHOD"], environ["wsgi.url_scheme"]
        server, _, port = environ["HTTP_HOST"].partition(":")
        active = {"http.request.method": method, "url.scheme": scheme}
        span = otel.tracer.start_span(
            method,
            propagate.extract(environ, getter=_ENVIRON),
            SpanKind.SERVER,
            {
                "http.request.method": method,
                "url.scheme": scheme,
                "url.path": environ["PATH_INFO"],
                "url.query": environ["QUERY_STRING"],
                "server.address": server,
                "server.port": int(port or 80),
                "client.address": environ["REMOTE_ADDR"],
                "network.protocol.version": environ["SERVER_PROTOCOL"][5:],
                "user_agent.original": environ["HTTP_USER_AGENT"],
            },
        )
        otel.active.add(1, active)
        started = time.perf_counter()
        token = context.attach(trace.set_span_in_context(span))

        def answer(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            active["http.response.status_code"] = int(status[:3])
            return start_response(status, headers, exc_info)

        try:
            body = self.app(environ, answer)
        finally:
            context.detach(token)
        return self._until_closed(body, span, started, active)

    def _until_closed(
        self, body: Iterable[bytes], span: trace.Span, started: float, found: dict[str, Any]
    ) -> Iterator[bytes]:
        try:
            yield from body
        finally:
            status = found.pop("http.response.status_code", 0)
            self._otel.active.add(-1, found)
            span.set_attribute("http.response.status_code", status)
            self._otel.duration.record(
                time.perf_counter() - started,
                {**found, "http.response.status_code": status},
                trace.set_span_in_context(span),
            )
            span.end()


class SdkAsgi:
    """An ASGI middleware by hand."""

    def __init__(self, app: Any, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
        self.app = app
        self._otel = _Handles(tracer_provider, meter_provider)

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        otel = self._otel
        headers = dict(scope["headers"])
        server, _, port = headers[b"host"].decode("latin-1").partition(":")
        active = {"http.request.method": scope["method"], "url.scheme": scope["scheme"]}
        span = otel.tracer.start_span(
            scope["method"],
            propagate.extract(headers, getter=_HEADERS),
            SpanKind.SERVER,
            {
                "http.request.method": scope["method"],
                "url.scheme": scope["scheme"],
                "url.path": scope["path"],
                "url.query": scope["query_string"].decode("latin-1"),
                "server.address": server,
                "server.port": int(port or 80),
                "client.address": scope["client"][0],
                "network.protocol.version": scope["http_version"],
                "user_agent.original": headers[b"user-agent"].decode("latin-1"),
            },
        )
        otel.active.add(1, active)
        started = time.perf_counter()
        token = context.attach(trace.set_span_in_context(span))
        status = 0

        async def answer(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            context.detach(token)
            otel.active.add(-1, active)
            span.set_attribute("http.response.status_code", status)
            otel.duration.record(
                time.perf_counter() - started,
                {**active, "http.response.status_code": status},
                trace.set_span_in_context(span),
            )
            span.end()


class PrometheusWsgi:
    """The two metrics by prometheus_client, no trace."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._duration, self._active = prometheus_metrics()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        active = self._active.labels(method)
        active.inc()
        status = ""

        def answer(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status
            status = line[:3]
            return start_response(line, headers, exc_info)

        started = time.perf_counter()
        try:
            body: Iterable[bytes] = self.app(environ, answer)
            return body
        finally:
            active.dec()
            self._duration.labels(method, status).observe(time.perf_counter() - started)


class PrometheusAsgi:
    """The two metrics by prometheus_client, no trace."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._duration, self._active = prometheus_metrics()

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        active = self._active.labels(method)
        active.inc()
        status = ""

        async def answer(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        started = time.perf_counter()
        try:
            await self.app(scope, receive, answer)
        finally:
            active.dec()
            self._duration.labels(method, status).observe(time.perf_counter() - started)


def prometheus_metrics() -> tuple[Any, Any]:
    """Make the histogram and the gauge."""
    from prometheus_client import Gauge, Histogram

    return (
        Histogram("http_server_request_duration_seconds", "Duration", ["method", "status"], buckets=BUCKETS),
        Gauge("http_server_active_requests", "Active", ["method"]),
    )
