"""What servers and applications say in other words than most, or not at all: no request is lost for it, and none is in the way."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.recording import call_asgi, call_wsgi, environ, plain, scope, sending_plain
from tests.unit.test_lane_wiring import exporting

from otelfork import OtelMiddleware, forks
from otelfork.encoding.encoder import Encoder
from otelfork.request.facts import utf8
from otelfork.request.propagation import sender
from otelfork.testing import capture


def ignoring(*_: Any) -> Any:
    """Stand in for a server's `start_response`."""
    return lambda data: None


@pytest.mark.parametrize("left", ["closed", "dropped"])
def test_a_generator_that_nobody_begins_is_ended_with_its_application(left: str) -> None:
    """Before `start_response` was called: the server's `close` passes, the application's is called, the request is over."""
    closed = []

    class Body:
        def __iter__(self) -> Any:
            yield b"never"

        def close(self) -> None:
            closed.append(True)

    with capture() as telemetry:
        body = OtelMiddleware(lambda given, start: Body(), interface="wsgi")(environ(), ignoring)
        if left == "closed":
            body.close()
        del body
        spans = [(span.name, dict(span.attributes or {})["error.type"]) for span in telemetry.spans]
        active = [point.value for point in telemetry.points("http.server.active_requests")]
    assert ([("GET", "client_disconnect")], [0], left == "closed") == (spans, active, bool(closed))


def served(given: list[dict[str, Any]], call: Any, app: Any) -> tuple[int, int, list[str]]:
    """Return how many spans there are, how many of them the encoder refuses, and the paths that they say."""
    with exporting() as exporter:
        for each in given:
            call(app, each)
        forks.flush(5)
        spans: list[Any] = list(exporter.get_finished_spans())
        encoder = Encoder()
        encoder.encode(spans)
        return len(spans), encoder.refused, [dict(span.attributes)["url.path"] for span in spans]


USUAL = environ(
    RAW_URI="/a?b=1", QUERY_STRING="b=1", HTTP_HOST="h", HTTP_USER_AGENT="c", REMOTE_ADDR="10.0.0.1", REMOTE_PORT="1"
)


@pytest.mark.parametrize(
    "name", ["RAW_URI", "QUERY_STRING", "HTTP_USER_AGENT", "REMOTE_ADDR", "REMOTE_PORT", "HTTP_X_FORWARDED_FOR"]
)
def test_an_environ_may_say_none(name: str) -> None:
    """None where a string is due costs no span, whoever put it there."""
    path = "/" if name == "RAW_URI" else "/a"
    assert (2, 0, [path, "/a"]) == served(
        [USUAL | {name: None, "PATH_INFO": "/"}, dict(USUAL)], call_wsgi, OtelMiddleware(plain)
    )


class Text(str):
    """Text with more to it, as frameworks have."""

    __slots__ = ()


class Raw(bytes):
    """Bytes with more to them."""

    __slots__ = ()


def test_a_sender_may_be_named_in_other_types() -> None:
    """Bytes, text, and what is either."""
    header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    raw = header.encode()
    given = (header, raw, Text(header), Raw(raw), bytearray(raw), Text(header[:-1]))
    assert [raw] * 5 + [None] == [sender(each) for each in given]
    assert {bytes} == {type(sender(each)) for each in given[:5]}


def test_a_path_for_the_scoreboard_may_be_of_other_types() -> None:
    """Bytes of whatever kind are themselves, text is UTF-8, and what is not text is replaced."""
    given: list[Any] = [b"/a", Raw(b"/a"), bytearray(b"/a"), "/a", Text("/a"), "/\xe9", "/\ud800"]
    assert [b"/a"] * 5 + [b"/\xc3\xa9", b"/?"] == [utf8(each) for each in given]


ODD: dict[str, dict[str, Any]] = {
    "no client": {"client": ()},
    "an address of asyncio's": {"client": ("::1", 1, 0, 0), "server": ["::1", 80, 0, 0]},
    "a port in digits": {"client": ("10.0.0.1", "5")},
    "a path as bytearray": {"raw_path": bytearray(b"/a")},
    "a query as bytearray": {"query_string": bytearray(b"b=1")},
    "no query": {"query_string": None},
    "an agent as bytearray": {"headers": [(b"host", b"h"), (b"user-agent", bytearray(b"c"))]},
    "no forwarded for": {"headers": [(b"host", b"h"), (b"x-forwarded-for", None)]},
}


@pytest.mark.parametrize("odd", list(ODD))
def test_a_scope_may_say_it_in_other_types(odd: str) -> None:
    """What a careless server gives for bytes, a client or a server costs no span."""
    usual = {"raw_path": b"/a", "path": "/a", "query_string": b"b=1", "client": ("10.0.0.1", 5), "server": ("h", 80)}
    given = [scope(**usual | ODD[odd]), scope(**usual)]
    assert (2, 0, ["/a", "/a"]) == served(given, call_asgi, OtelMiddleware(sending_plain))


def test_calls_after_the_end_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """`start_response` of a request that is over is the server's affair: with a hook or without, nothing is raised or logged."""
    for hook in (None, lambda *_: None):
        kept: list[Any] = []

        def app(given: Any, start: Any, kept: list[Any] = kept) -> list[bytes]:
            kept.append(start)
            start("200 OK", [])
            return [b"x"]

        with caplog.at_level(logging.ERROR, logger="otelfork"), exporting():
            call_wsgi(OtelMiddleware(app, response_hook=hook))
            kept[0]("500 Late", [])
    assert [] == [record.getMessage() for record in caplog.records]


def test_schemes_that_proxies_hand_on_are_bounded() -> None:
    """Whatever a client says its scheme is, little of it is kept, and nothing of what it says of others."""
    app: Any = OtelMiddleware(plain)
    with exporting():
        for number in range(1500):
            said = {
                "HTTP_X_FORWARDED_FOR": "x" * 500 + str(number),
                "HTTP_X_FORWARDED_PROTO": "http",
                "HTTP_HOST": f"h{number % 400}",
            }
            call_wsgi(app, environ(**{"wsgi.url_scheme": f"s{number}"}, **said))
        plan = app._edge.plan
        held = repr([(kind._first, kind._addresses) for kind in plan.kinds.values()])
        assert (True, True, False) == (
            len(plan.endings) <= 512,
            len(plan.kinds) <= 512,
            "x" * 500 in repr([each._first for each in plan.kinds.values()]),
        )
    assert held


def test_a_method_that_somebody_puts_on_a_processor_is_called() -> None:
    """A processor of the SDK's own that is patched between two requests is patched for the next but one at the latest."""
    provider, calls = TracerProvider(shutdown_on_exit=False), []
    processor: Any = SimpleSpanProcessor(InMemorySpanExporter())
    provider.add_span_processor(processor)
    app = OtelMiddleware(plain, tracer_provider=provider)
    call_wsgi(app)
    processor.on_start = lambda span, parent_context=None: calls.append("start")
    processor.on_end = lambda span: calls.append("end")
    call_wsgi(app)
    call_wsgi(app)
    del processor.on_start, processor.on_end
    call_wsgi(app)
    assert ["end", "start", "end"] == calls[-3:]  # by public names from the first one on
