"""What the tests of the request core share: the middlewares over in-memory providers, and drivers that obey the protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any
from wsgiref.util import setup_testing_defaults

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otelfork.asgi import ASGIMiddleware
from otelfork.request.hooks import Hooks
from otelfork.request.instruments import Instruments
from otelfork.settings.http import HttpSettings
from otelfork.wsgi import WSGIMiddleware

DURATION = "http.server.request.duration"
ACTIVE = "http.server.active_requests"
REQUEST_SIZE = "http.server.request.body.size"
RESPONSE_SIZE = "http.server.response.body.size"


class Recording:
    """One tracer and meter provider in memory, and middlewares that record there."""

    def __init__(self, **settings: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.settings = HttpSettings.load(**settings)
        limit = self.settings.cardinality_limit
        self.instruments = Instruments.create(
            self.provider, self.meters, cardinality_limit=limit, old=self.settings.old_names
        )

    def wsgi(self, app: Any, **hooks: Any) -> WSGIMiddleware:
        return WSGIMiddleware(app, instruments=lambda: self.instruments, settings=self.settings, hooks=Hooks(**hooks))

    def asgi(self, app: Any, **hooks: Any) -> ASGIMiddleware:
        return ASGIMiddleware(app, instruments=lambda: self.instruments, settings=self.settings, hooks=Hooks(**hooks))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.span.attributes or {})

    def collect(self) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def points(self, name: str) -> list[Any]:
        return [point for metric in self.collect() if metric.name == name for point in metric.data.data_points]

    @property
    def active(self) -> int:
        return sum(point.value for point in self.points(ACTIVE))


def environ(**changes: Any) -> dict[str, Any]:
    """Return a complete environ; a None removes a key."""
    made: dict[str, Any] = {}
    setup_testing_defaults(made)
    made.update(SERVER_PROTOCOL="HTTP/1.1", REMOTE_ADDR="127.0.0.1", REMOTE_PORT="50000")
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


class Answer:
    """What a server got from a WSGI application."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.starts = 0

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        self.starts += 1
        if exc_info is not None and self.body:
            raise exc_info[1]
        self.status, self.headers = status, headers
        return self._write

    def _write(self, data: bytes) -> None:
        self.body += data


def call_wsgi(app: Any, given: dict[str, Any] | None = None) -> Answer:
    """Serve one request as PEP 3333 asks a server to."""
    answer = Answer()
    result = app(environ() if given is None else given, answer.start)
    try:
        for block in result:
            answer.body += block
    finally:
        if hasattr(result, "close"):
            result.close()
    return answer


def scope(**changes: Any) -> dict[str, Any]:
    """Return a complete http scope; a None removes a key."""
    made: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


REQUEST = {"type": "http.request", "body": b"", "more_body": False}


async def exchange_messages(
    app: Callable[..., Awaitable[None]],
    given: dict[str, Any],
    messages: Iterable[dict[str, Any]] = (REQUEST,),
) -> list[dict[str, Any]]:
    """Serve one connection: hand over the messages, and a disconnect when all is over; return what was sent."""
    waiting = list(messages)
    sent: list[dict[str, Any]] = []
    complete = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        if waiting:
            return waiting.pop(0)
        if given["type"] == "http":
            await complete.wait()
        return {"type": f"{given['type']}.disconnect", "code": 1005}

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            complete.set()

    await app(given, receive, send)
    return sent


def call_asgi(
    app: Any, given: dict[str, Any] | None = None, messages: Iterable[dict[str, Any]] = (REQUEST,)
) -> list[dict[str, Any]]:
    """Serve one connection in an event loop of its own."""
    return asyncio.run(exchange_messages(app, scope() if given is None else given, messages))


def body_of(sent: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


HEADERS = [("Content-Type", "text/plain")]


def plain(given: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", list(HEADERS))
    return [b"hello ", b"world"]


class Closeable:
    """An iterable that counts the calls of its `close` and notes the span that was current in each of them."""

    def __init__(self, blocks: list[Any], error_in_close: BaseException | None = None) -> None:
        self.blocks = blocks
        self.error = error_in_close
        self.closes = 0
        self.seen: list[int] = []

    def _note(self) -> None:
        self.seen.append(trace.get_current_span().get_span_context().span_id)

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            self._note()
            if isinstance(block, BaseException):
                raise block
            yield block

    def close(self) -> None:
        self.closes += 1
        self._note()
        if self.error is not None:
            raise self.error


def answering(body: Any, status: str = "200 OK") -> Callable[..., Any]:
    def app(given: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(HEADERS))
        return body

    return app


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def sending(*messages: dict[str, Any], error: BaseException | None = None) -> Callable[..., Any]:
    """An application that sends these messages, and then raises."""

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return app


def body(data: bytes = b"x", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def swallow(message: dict[str, Any]) -> None:
    return None


sending_plain = sending(START, body(b"hello world"))
