"""The WSGI edge: what the server gets is what the application gave, and the exchange ends once whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, trace
from tests.unit.recording import (
    DURATION,
    HEADERS,
    RESPONSE_SIZE,
    Answer,
    Closeable,
    Recording,
    answering,
    call_wsgi,
    environ,
    plain,
)


def test_wsgiref_s_validator_is_content_inside_and_outside(recording: Recording) -> None:
    """Neither what the application is called with nor what the server gets breaks PEP 3333."""
    app = validator(recording.wsgi(validator(plain)))
    answer = call_wsgi(app, environ(QUERY_STRING=""))
    expected = (b"hello world", "200 OK", HEADERS)
    assert expected == (answer.body, answer.status, answer.headers)


@pytest.mark.parametrize("status", ["200 OK", "200", "404 Not Found", "503 ", "abc", "", "99 x"])
def test_the_status_line_passes_as_it_is(recording: Recording, status: str) -> None:
    """A status line without a reason, or one that makes no sense, reaches the server unchanged."""
    answer = call_wsgi(recording.wsgi(answering([b"x"], status)))
    assert status == answer.status


@pytest.mark.parametrize(("status", "code"), [("200 OK", 200), ("200", 200), ("503 ", 503), ("abc", None), ("", None)])
def test_the_status_code_is_recorded(recording: Recording, status: str, code: int | None) -> None:
    """The code is taken from the status line, with or without a reason; where there is none, none is recorded."""
    call_wsgi(recording.wsgi(answering([b"x"], status)))
    assert code == recording.attributes.get("http.response.status_code")


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=lambda error: type(error).__name__
)  # fmt: skip
@pytest.mark.parametrize("where", ["call", "iteration"])
def test_exceptions_pass_untouched_and_end_the_span(recording: Recording, error: BaseException, where: str) -> None:
    """Whatever the application raises, in its call or while iterating, reaches the server itself and ends the span."""

    def failing(given: dict[str, Any], start_response: Any) -> Any:
        if where == "call":
            raise error
        start_response("200 OK", list(HEADERS))
        return Closeable([b"a", error])

    with pytest.raises(type(error)) as caught:
        call_wsgi(recording.wsgi(failing))
    span = recording.span
    seen = (span.attributes["error.type"], span.status.status_code, len(span.events), recording.active)
    assert (caught.value is error, (type(error).__name__, trace.StatusCode.ERROR, 1, 0)) == (True, seen)


def test_the_context_is_current_in_the_application_s_code_only(recording: Recording) -> None:
    """The span is current in the call, each step and close, and never between them on the server's thread."""
    made = Closeable([b"a", b"b"])
    between: list[bool] = []

    def app(given: dict[str, Any], start_response: Any) -> Any:
        made._note()
        start_response("200 OK", list(HEADERS))
        return made

    def free() -> bool:
        return not context.get_current()

    body: Any = recording.wsgi(app)(environ(), Answer().start)
    between.append(free())
    between.extend(free() for _ in body)
    body.close()
    between.append(free())
    span_id = recording.span.get_span_context().span_id
    assert ([span_id] * 4, [True] * 4) == (made.seen, between)


def test_a_generator_that_yields_before_start_response(recording: Recording) -> None:
    """`start_response` may be called in the first step; its status is recorded."""

    def app(given: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("202 Accepted", list(HEADERS))
        yield b"x"

    answer = call_wsgi(recording.wsgi(app))
    expected = (b"x", 202)
    assert expected == (answer.body, recording.attributes["http.response.status_code"])


def test_write_is_passed_on_and_counted(recording: Recording) -> None:
    """What goes through the `write` callable comes first, and counts."""

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", list(HEADERS))
        write(b"12345")
        return [b"678"]

    answer = call_wsgi(recording.wsgi(app))
    expected = (b"12345678", 8)
    assert expected == (answer.body, recording.points(RESPONSE_SIZE)[0].sum)


def test_a_second_start_response_with_exc_info_counts(recording: Recording) -> None:
    """An error page that replaces headers not yet sent gives the status, and its exception is recorded."""

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", list(HEADERS))
        try:
            raise ValueError("broken")
        except ValueError:
            import sys

            start_response("500 Oops", list(HEADERS), sys.exc_info())
        return [b"sorry"]

    answer = call_wsgi(recording.wsgi(app))
    seen = recording.attributes
    expected = ("500 Oops", 2, 500, "ValueError")
    assert expected == (
        answer.status,
        answer.starts,
        seen["http.response.status_code"],
        seen["error.type"],
    )


def test_a_second_start_response_after_the_headers_raises_on(recording: Recording) -> None:
    """Once headers are sent the server raises exc_info's exception; it passes through the application unchanged."""
    error = ValueError("broken")

    def app(given: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(HEADERS))
        yield b"x"
        start_response("500 Oops", list(HEADERS), (ValueError, error, None))

    with pytest.raises(ValueError, match="broken") as caught:
        call_wsgi(recording.wsgi(app))
    assert (error, 200) == (caught.value, recording.attributes["http.response.status_code"])


def test_span_and_metric_have_the_same_duration(recording: Recording) -> None:
    """One pair of clock readings serves both signals."""
    call_wsgi(recording.wsgi(plain))
    span = recording.span
    assert recording.points(DURATION)[0].sum == (span.end_time - span.start_time) / 1e9


def test_nested_middlewares_count_once(recording: Recording) -> None:
    """The same request seen by two middlewares is one span and one point."""
    call_wsgi(recording.wsgi(recording.wsgi(plain)))
    expected = (1, 1)
    assert expected == (len(recording.spans), recording.points(DURATION)[0].count)


def test_a_server_span_of_another_instrumentation_is_not_doubled(recording: Recording) -> None:
    """Inside contrib's middleware this one makes no second SERVER span and no second points."""
    from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

    app = OpenTelemetryMiddleware(
        recording.wsgi(plain), tracer_provider=recording.provider, meter_provider=recording.meters
    )
    call_wsgi(app)
    kinds = [span.kind for span in recording.spans]
    expected = [trace.SpanKind.SERVER]
    assert expected == kinds


def test_another_request_inside_a_server_span_is_recorded(recording: Recording) -> None:
    """A request that a server calls in-process on another path is a request of its own, and its child."""

    def outer(given: dict[str, Any], start_response: Any) -> list[bytes]:
        call_wsgi(recording.wsgi(plain), environ(PATH_INFO="/inner"))
        return plain(given, start_response)

    call_wsgi(recording.wsgi(outer), environ(PATH_INFO="/outer"))
    inner, around = recording.spans
    assert (inner.parent and inner.parent.span_id) == around.get_span_context().span_id


@pytest.mark.parametrize("key", ["suppress_instrumentation", "suppress_http_instrumentation"])
def test_suppression_is_respected(recording: Recording, key: str) -> None:
    """Where the context asks for silence, the request passes unrecorded."""
    from opentelemetry.instrumentation import utils

    with getattr(utils, key)():
        answer = call_wsgi(recording.wsgi(plain))
    expected = (b"hello world", 0)
    assert expected == (answer.body, len(recording.spans))


def test_without_instruments_everything_passes_untouched() -> None:
    """Where telemetry is off, the server gets the application's own iterable."""
    from otelfork.settings.http import HttpSettings
    from otelfork.wsgi import WSGIMiddleware

    body = [b"x"]
    app = WSGIMiddleware(answering(body), instruments=lambda: None, settings=HttpSettings())
    assert app(environ(), Answer().start) is body


BLOCKS = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([ValueError("x"), SystemExit(3)])), max_size=5)


@given(
    blocks=BLOCKS,
    shape=st.sampled_from([list, tuple, iter, Closeable]),
    status=st.sampled_from(["200 OK", "204 No Content", "500 Oops", "302 Found", "x"]),
    steps=st.integers(0, 6),
    method=st.sampled_from(["GET", "HEAD", "POST", "BREW"]),
)
def test_the_middleware_is_transparent(blocks: list[Any], shape: Any, status: str, steps: int, method: str) -> None:
    """Status, headers, bytes, exceptions and close calls equal those of the bare application, and the exchange ends once."""
    if shape is not Closeable:
        blocks = [block for block in blocks if isinstance(block, bytes)]
    recording = Recording()

    def serve(wrap: Callable[[Any], Any]) -> tuple[Any, ...]:
        made = shape(blocks)
        answer = Answer()
        got: list[Any] = []
        error = None
        body = wrap(answering(made, status))(environ(REQUEST_METHOD=method), answer.start)
        try:
            got.extend(block for _, block in zip(range(steps), body, strict=False))
        except BaseException as raised:
            error = raised
        if hasattr(body, "close"):
            body.close()
        return answer.status, answer.headers, got, error, getattr(made, "closes", None)

    assert serve(lambda app: app) == serve(recording.wsgi)
    expected = (1, 0, 1)
    assert expected == (len(recording.spans), recording.active, recording.points(DURATION)[0].count)
