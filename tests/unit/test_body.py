"""The body of a WSGI response: the server cannot tell it from the application's own, and its end is seen."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context, trace
from tests.unit.recording import (
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


def test_len_is_kept_where_there_was_one(recording: Recording) -> None:
    """Servers make a Content-Length of a list of one block, so its length must not be lost."""
    body: Any = recording.wsgi(plain)(environ(), Answer().start)
    length = len(body)
    body.close()
    expected = 2
    assert expected == length


def test_no_len_where_there_was_none(recording: Recording) -> None:
    """A generator has no length and gets none."""
    body: Any = recording.wsgi(answering(iter([b"x"])))(environ(), Answer().start)
    found = hasattr(body, "__len__")
    body.close()
    assert found is False


def test_a_sized_body_can_be_iterated_inside_an_iteration(recording: Recording) -> None:
    """gevent adds up the lengths of a sized body in the middle of sending it: both iterations see all blocks."""
    body: Any = recording.wsgi(plain)(environ(), Answer().start)
    sums = [sum(len(block) for block in body) for _ in body]
    body.close()
    expected = ([11, 11], 11)
    assert expected == (sums, recording.points(RESPONSE_SIZE)[0].sum)


@pytest.mark.parametrize("steps", [0, 1, 2, 9], ids=["never", "midway", "almost", "all"])
def test_close_is_called_once_wherever_the_server_stops(recording: Recording, steps: int) -> None:
    """The application's close is called exactly once, and the exchange ends, wherever the server stops and closes."""
    made = Closeable([b"a", b"b", b"c"])
    body: Any = recording.wsgi(answering(made))(environ(), Answer().start)
    for _, _ in zip(range(steps), body, strict=False):
        pass
    body.close()
    body.close()
    expected = (1, 1, 0)
    assert expected == (made.closes, len(recording.spans), recording.active)


def test_an_error_in_close_passes_and_is_recorded(recording: Recording) -> None:
    """What the application's close raises reaches the server, and the span has it."""
    made = Closeable([b"a"], error_in_close=LookupError("late"))
    body: Any = recording.wsgi(answering(made))(environ(), Answer().start)
    with pytest.raises(LookupError, match="late"):
        body.close()
    expected = ("LookupError", 1, 0)
    assert expected == (recording.attributes["error.type"], made.closes, recording.active)


def test_interleaved_responses_keep_their_own_trace(recording: Recording) -> None:
    """Two responses that one thread iterates in turns each see their own span."""
    first, second = Closeable([b"a", b"b"]), Closeable([b"c", b"d"])
    bodies: list[Any] = [recording.wsgi(answering(made))(environ(), Answer().start) for made in (first, second)]
    for _ in zip(*bodies, strict=True):
        pass
    for body in bodies:
        body.close()
    ids = [span.get_span_context().span_id for span in recording.spans]
    assert [{ids[0]}, {ids[1]}] == [set(first.seen), set(second.seen)]


def test_a_response_that_hops_between_threads_keeps_its_trace(recording: Recording) -> None:
    """Each step on another thread sees the span, and leaves nothing on that thread."""
    made = Closeable([b"a", b"b", b"c"])
    body: Any = recording.wsgi(answering(made))(environ(), Answer().start)
    iterator = iter(body)
    left: list[bool] = []

    def step() -> None:
        next(iterator)
        left.append(bool(context.get_current()))

    for _ in range(3):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    body.close()
    assert ([False] * 3, {recording.span.get_span_context().span_id}) == (left, set(made.seen))


def test_a_span_around_a_yield_is_current_again_in_the_next_step(recording: Recording) -> None:
    """A generator that opens a span around its yields finds it current in each step, as without the middleware."""
    tracer = recording.provider.get_tracer("app")
    seen: list[str] = []

    def app(given: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(HEADERS))
        with tracer.start_as_current_span("inner"):
            for _ in range(2):
                seen.append(getattr(trace.get_current_span(), "name", ""))
                yield b"x"

    call_wsgi(recording.wsgi(app))
    expected = ["inner", "inner"]
    assert expected == seen


def test_a_body_never_iterated_nor_closed_ends_when_collected(recording: Recording) -> None:
    """A server that drops the response altogether leaves no exchange open."""
    recording.wsgi(answering(iter([b"x"])))(environ(), Answer().start)
    gc.collect()
    expected = (1, 0)
    assert expected == (len(recording.spans), recording.active)


def test_a_sign_that_is_no_iterable_passes_as_it_is(recording: Recording) -> None:
    """gunicorn compares the result with a marker of its own: identity is kept, and the exchange ends."""
    sign = object()
    result = recording.wsgi(answering(sign))(environ(), Answer().start)
    assert (sign, 1) == (result, len(recording.spans))


class FileWrapper:
    """A server's file wrapper, as gunicorn and wsgiref make theirs."""

    def __init__(self, filelike: Any, block_size: int = 8192) -> None:
        self.filelike = filelike
        self.close = filelike.close


@pytest.mark.parametrize("wrapper", [FileWrapper, lambda file, size=0: file], ids=["class", "function"])
def test_a_file_wrapper_stays_the_server_s_own(recording: Recording, wrapper: Any, tmp_path: Any) -> None:
    """The server gets back the very object its wrapper made (its sendfile depends on it); the span lasts to its close."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1234)
    made: list[Any] = []

    def app(given: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", list(HEADERS))
        made.append(given["wsgi.file_wrapper"](path.open("rb")))
        return made[0]

    environ_ = environ(**{"wsgi.file_wrapper": wrapper})
    result: Any = recording.wsgi(app)(environ_, Answer().start)
    before = len(recording.spans)
    result.close()
    file = getattr(result, "filelike", result)
    seen = (result is made[0], before, len(recording.spans), file.closed, recording.points(RESPONSE_SIZE)[0].sum)
    expected = (True, 0, 1, True, 1234)
    assert expected == seen


@pytest.mark.parametrize(
    ("method", "status", "announced", "steps", "error"),
    [
        ("GET", "200 OK", None, 1, "client_disconnect"),
        ("GET", "200 OK", "2", 1, "client_disconnect"),
        ("GET", "200 OK", "1", 1, None),
        ("GET", "200 OK", None, 3, None),
        ("HEAD", "200 OK", None, 0, None),
        ("GET", "204 No Content", None, 0, None),
        ("GET", "304 Not Modified", None, 0, None),
    ],
)
def test_a_client_that_leaves_is_told_from_a_server_that_has_enough(
    recording: Recording, method: str, status: str, announced: str | None, steps: int, error: str | None
) -> None:
    """A body that is closed early is an error, unless nothing more was to be sent."""

    def app(given: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [("Content-Length", announced)] if announced else [])
        return iter([b"a", b"b"])

    body: Any = recording.wsgi(app)(environ(REQUEST_METHOD=method), Answer().start)
    for _, _ in zip(range(steps), body, strict=False):
        pass
    body.close()
    span = recording.span
    assert (error, trace.StatusCode.UNSET) == (span.attributes.get("error.type"), span.status.status_code)


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_a_response_without_a_body_has_size_nothing(recording: Recording, method: str, status: str) -> None:
    """Where the protocol allows no body, what the application gave all the same is not counted."""
    call_wsgi(recording.wsgi(answering([b"dropped"], status)), environ(REQUEST_METHOD=method))
    expected = 0
    assert expected == recording.points(RESPONSE_SIZE)[0].sum


def test_time_that_close_takes_does_not_count(recording: Recording) -> None:
    """The clock stops with the last byte; what the application does in its close comes after it."""
    ends: list[int] = []

    class Slow(Closeable):
        def close(self) -> None:
            import time

            ends.append(time.time_ns())
            time.sleep(0.02)

    call_wsgi(recording.wsgi(answering(Slow([b"x"]))))
    assert recording.span.end_time <= ends[0] + 5_000_000


def test_bytes_pass_as_they_are(recording: Recording) -> None:
    """uWSGI sends bytes that an application returns as they are: they reach it themselves, and are counted."""
    given = b"whole"
    result = recording.wsgi(answering(given))(environ(), lambda *_: None)
    assert (True, 5, 1) == (result is given, recording.points(RESPONSE_SIZE)[0].sum, len(recording.spans))


@pytest.mark.parametrize("blocks", [[1], [None], ["text"]], ids=repr)
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_blocks_that_are_no_bytes_are_the_server_s_to_refuse(
    recording: Recording, blocks: list[Any], kind: Any
) -> None:
    """What a server says of a wrong block is what it says without us, and the request ends."""
    said = []
    for app in (answering(kind(blocks)), recording.wsgi(answering(kind(blocks)))):
        with pytest.raises(TypeError) as caught:
            call_wsgi(app)
        said.append(str(caught.value))
    assert (said[0], 1, 0) == (said[1], len(recording.spans), recording.active)
