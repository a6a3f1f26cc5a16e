"""Reads what a collector answers: when it wants to be asked again, and what it did not take.

Sources: RFC 9110 section 10.2.3 (Retry-After); OTLP specification, partial success; google.rpc.RetryInfo.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from otelfork.delivery.outcome import Outcome

_DETAILS, _TYPE_URL, _VALUE = 3, 1, 2
_PARTIAL_SUCCESS = 1
_REJECTED, _MESSAGE = 1, 2
_RETRY_DELAY, _SECONDS, _NANOS = 1, 1, 2


def note_retry_after(result: Outcome, value: str | None) -> None:
    """Note the header: seconds, or a date; what is neither is no answer."""
    if not value:
        return
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        try:
            seconds = float(value)
        except ValueError:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        if 0.0 <= seconds < float("inf"):
            result.retry_after = seconds


def note_retry_info(result: Outcome, packed: bytes) -> None:
    """Note a `google.rpc.RetryInfo`."""
    with contextlib.suppress(ValueError, IndexError, TypeError):
        delay = _fields(_message(_fields(packed).get(_RETRY_DELAY, b"")))
        result.retry_after = int(delay.get(_SECONDS, 0)) + int(delay.get(_NANOS, 0)) / 1e9


def note_status_details(result: Outcome, packed: bytes) -> None:
    """Note the RetryInfo in a `google.rpc.Status`, where servers put it."""
    with contextlib.suppress(ValueError, IndexError, TypeError):
        detail = _fields(_message(_fields(packed).get(_DETAILS, b"")))
        if _message(detail.get(_TYPE_URL, b"")).endswith(b"google.rpc.RetryInfo"):
            note_retry_info(result, _message(detail.get(_VALUE, b"")))


def note_body(result: Outcome, media_type: str, body: bytes) -> None:
    """Note an `Export*ServiceResponse`: its three kinds have the same fields. Another backend's answer is not read."""
    if "protobuf" in media_type:
        note_response(result, body)


def note_response(result: Outcome, packed: bytes) -> None:
    """Note the partial success of an `Export*ServiceResponse`, if it tells of one."""
    with contextlib.suppress(ValueError, IndexError, TypeError):
        partial = _fields(packed).get(_PARTIAL_SUCCESS)
        if partial:
            told = _fields(_message(partial))
            result.rejected = int(told.get(_REJECTED, 0))
            result.message = _message(told.get(_MESSAGE, b"")).decode("utf-8", "replace")


def _fields(packed: bytes) -> dict[int, int | bytes]:
    """Return the fields of a protobuf message by number; numbers and bytes only (protobuf.dev, "Encoding").

    By hand: exporters that speak no OTLP use this too, and do not install protobuf.

    Raises:
        ValueError, IndexError: these are no such bytes.
    """
    found: dict[int, int | bytes] = {}
    octets = iter(packed)
    for first in octets:
        tag = _varint(octets, first)
        kind = tag & 7
        if kind == 0:
            found[tag >> 3] = _varint(octets)
        elif kind in _WIDTHS or kind == 2:
            width = _WIDTHS.get(kind) or _varint(octets)
            found[tag >> 3] = bytes(_next(octets) for _ in range(width))
        else:
            raise ValueError(f"wire type {kind}")
    return found


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number in place of a message")  # noqa: TRY004 - the type is the other side's
    return value


_WIDTHS = {1: 8, 5: 4}


def _next(octets: Iterator[int]) -> int:
    for octet in octets:
        return octet
    raise IndexError("broken off")


def _varint(octets: Iterator[int], octet: int | None = None) -> int:
    octet = _next(octets) if octet is None else octet
    number = shift = 0
    while True:
        number |= (octet & 0x7F) << shift
        if octet < 0x80:
            return number
        octet, shift = _next(octets), shift + 7
