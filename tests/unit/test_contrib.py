"""Beside contrib's middlewares a request is one SERVER span and one measurement, whichever is outside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribASGI
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as ContribWSGI
from opentelemetry.trace import SpanKind

from otelfork import OtelMiddleware
from otelfork.testing import Captured, capture


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer."""
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def call_wsgi(app: Any) -> None:
    """Make one request."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/x",
        "SERVER_NAME": "shop",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    result = app(environ, lambda status, headers, exc_info=None: lambda data: None)
    list(result)
    if hasattr(result, "close"):
        result.close()


def call_asgi(app: Any) -> None:
    """Make one request."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "headers": [(b"host", b"shop")],
        "scheme": "http",
        "http_version": "1.1",
        "server": ("shop", 80),
        "client": ("127.0.0.1", 1),
        "asgi": {"version": "3.0"},
    }
    asyncio.run(app(scope, receive, send))


def servers(telemetry: Captured) -> int:
    """Count the SERVER spans."""
    return sum(span.kind is SpanKind.SERVER for span in telemetry.spans)


def measured(telemetry: Captured) -> int:
    """Count the requests in every server duration histogram there is, old names too."""
    metrics = telemetry.metrics()
    names = ("http.server.request.duration", "http.server.duration")
    return sum(point.count for name in names if name in metrics for point in metrics[name].data.data_points)


@pytest.mark.parametrize("names", ["", "http"])
@pytest.mark.parametrize(
    ("contrib", "app", "call"),
    [(ContribWSGI, wsgi, call_wsgi), (ContribASGI, asgi, call_asgi)],
    ids=["wsgi", "asgi"],
)
@pytest.mark.parametrize("inside", [True, False], ids=["contrib inside", "contrib around"])
def test_one_server_span_and_one_measurement(
    contrib: Any, app: Any, call: Any, inside: bool, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither order of the two middlewares doubles a span or a measurement."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", names)
    with capture() as telemetry:
        both = OtelMiddleware(contrib(app)) if inside else contrib(OtelMiddleware(app))
        call(both)
        call(both)
        points = measured(telemetry)
    assert (2, 2) == (servers(telemetry), points)
