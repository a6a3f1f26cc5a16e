"""The facts that come in a WSGI environ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.recording import (
    REQUEST_SIZE,
    Recording,
    call_wsgi,
    environ,
)


class Source:
    """A `wsgi.input` with everything that servers give theirs."""

    def __init__(self, data: bytes) -> None:
        import io

        self._data = io.BytesIO(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._data)


@pytest.mark.parametrize(
    ("read", "size"),
    [
        (lambda source: source.read(), 6),
        (lambda source: source.read(2), 2),
        (lambda source: source.readline(), 3),
        (lambda source: source.readlines(), 6),
        (lambda source: list(source), 6),
        (lambda source: source.readinto(bytearray(4)), 4),
        (lambda source: None, 0),
    ],
)
@pytest.mark.parametrize(
    "framing", [{"CONTENT_LENGTH": "6"}, {"HTTP_TRANSFER_ENCODING": "chunked"}, {"SERVER_PROTOCOL": "HTTP/2"}]
)
def test_the_request_s_body_is_counted_as_it_is_read(
    recording: Recording, framing: dict[str, str], read: Callable[[Any], Any], size: int
) -> None:
    """The size of a request's body is what the application took of it, announced, chunked, or framed by HTTP/2."""

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        read(given["wsgi.input"])
        start_response("200 OK", [])
        return []

    call_wsgi(recording.wsgi(app), environ(**{"wsgi.input": Source(b"ab\ncd\n")}, **framing))
    assert size == recording.points(REQUEST_SIZE)[0].sum


def test_an_input_that_has_nothing_yet_is_no_error(recording: Recording) -> None:
    """A stream that does not block returns None: the application gets that, and no exception of ours."""
    seen: list[Any] = []

    class Waiting:
        def read(self, *_: Any) -> None:
            return None

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(given["wsgi.input"].read(10))
        start_response("200 OK", [])
        return []

    call_wsgi(recording.wsgi(app), environ(**{"wsgi.input": Waiting(), "CONTENT_LENGTH": "3"}))
    assert [None] == seen
