"""The protobuf wire format, as far as OTLP traces need it, and the table of the fields that are written.

Bytes only: it knows neither spans nor the SDK. Every field is written in the order of its number, as protobuf's own
serialiser does. Source: protobuf.dev, "Encoding"; opentelemetry-proto, trace/v1/trace.proto, common/v1/common.proto,
resource/v1/resource.proto, collector/trace/v1/trace_service.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any

_SHORT = 1024
VARINTS: tuple[bytes, ...] = tuple(
    bytes((number,)) if number < 0x80 else bytes((number & 0x7F | 0x80, number >> 7)) for number in range(_SHORT)
)
_UINT64 = (1 << 64) - 1
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1

# Wire types.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

double = Struct("<d").pack
fixed64 = Struct("<Q").pack
fixed32 = Struct("<I").pack
_times = Struct("<BQBQ").pack
times_behind_a_tag = Struct("<QBQ").pack
"""Of two times, neither of them zero, and the second's tag."""


def varint(number: int) -> bytes:
    """Return a number from 0 to 2**64 - 1 as a varint."""
    if number < _SHORT:
        return VARINTS[number]
    if number < 1 << 21:
        low, middle = number & 0x7F | 0x80, number >> 7
        return bytes((low, middle) if middle < 0x80 else (low, middle & 0x7F | 0x80, middle >> 7))
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


# ExportTraceServiceRequest
RESOURCE_SPANS = _tag(1, _LENGTH)
# ResourceSpans
RESOURCE_SPANS_RESOURCE = _tag(1, _LENGTH)
RESOURCE_SPANS_SCOPE_SPANS = _tag(2, _LENGTH)
RESOURCE_SPANS_SCHEMA_URL = _tag(3, _LENGTH)
# Resource (its dropped_attributes_count is not known to the SDK)
RESOURCE_ATTRIBUTES = _tag(1, _LENGTH)
# ScopeSpans
SCOPE_SPANS_SCOPE = _tag(1, _LENGTH)
SCOPE_SPANS_SPANS = _tag(2, _LENGTH)
SCOPE_SPANS_SCHEMA_URL = _tag(3, _LENGTH)
# InstrumentationScope
SCOPE_NAME = _tag(1, _LENGTH)
SCOPE_VERSION = _tag(2, _LENGTH)
SCOPE_ATTRIBUTES = _tag(3, _LENGTH)
# Span
SPAN_TRACE_ID = _tag(1, _LENGTH) + varint(16)
SPAN_SPAN_ID = _tag(2, _LENGTH) + varint(8)
SPAN_TRACE_STATE = _tag(3, _LENGTH)
SPAN_PARENT_SPAN_ID = _tag(4, _LENGTH) + varint(8)
SPAN_NAME = _tag(5, _LENGTH)
SPAN_KIND = _tag(6, _VARINT)
SPAN_START_TIME = _tag(7, _FIXED64)
SPAN_END_TIME = _tag(8, _FIXED64)
SPAN_ATTRIBUTES = _tag(9, _LENGTH)
SPAN_DROPPED_ATTRIBUTES = _tag(10, _VARINT)
SPAN_EVENTS = _tag(11, _LENGTH)
SPAN_DROPPED_EVENTS = _tag(12, _VARINT)
SPAN_LINKS = _tag(13, _LENGTH)
SPAN_DROPPED_LINKS = _tag(14, _VARINT)
SPAN_STATUS = _tag(15, _LENGTH)
SPAN_FLAGS = _tag(16, _FIXED32)
# Span.Event
EVENT_TIME = _tag(1, _FIXED64)
EVENT_NAME = _tag(2, _LENGTH)
EVENT_ATTRIBUTES = _tag(3, _LENGTH)
EVENT_DROPPED_ATTRIBUTES = _tag(4, _VARINT)
# Span.Link (its trace_state is not written: the standard encoder does not either)
LINK_TRACE_ID = _tag(1, _LENGTH) + varint(16)
LINK_SPAN_ID = _tag(2, _LENGTH) + varint(8)
LINK_ATTRIBUTES = _tag(4, _LENGTH)
LINK_DROPPED_ATTRIBUTES = _tag(5, _VARINT)
LINK_FLAGS = _tag(6, _FIXED32)
# Status
STATUS_MESSAGE = _tag(2, _LENGTH)
STATUS_CODE = _tag(3, _VARINT)
# KeyValue
KEY = _tag(1, _LENGTH)
VALUE = _tag(2, _LENGTH)
# AnyValue
_STRING_VALUE = _tag(1, _LENGTH)
_BOOL_VALUE = _tag(2, _VARINT)
_INT_VALUE = _tag(3, _VARINT)
_DOUBLE_VALUE = _tag(4, _FIXED64)
_ARRAY_VALUE = _tag(5, _LENGTH)
_KVLIST_VALUE = _tag(6, _LENGTH)
_BYTES_VALUE = _tag(7, _LENGTH)
# ArrayValue, KeyValueList
_VALUES = _tag(1, _LENGTH)

_marks: dict[str, tuple[bytes, bytes]] = {}
"""What stands before and behind the time of events by these names; of our own making, a handful."""
_START, _END = SPAN_START_TIME[0], SPAN_END_TIME[0]
_TRUE, _FALSE = _BOOL_VALUE + b"\x01", _BOOL_VALUE + b"\x00"
# SpanFlags: whether the parent (of a span) or the target (of a link) is remote is known, and whether it is.
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
LOCAL = fixed32(_HAS_IS_REMOTE)
REMOTE = fixed32(_HAS_IS_REMOTE | _IS_REMOTE)
SPAN_LOCAL, SPAN_REMOTE = SPAN_FLAGS + LOCAL, SPAN_FLAGS + REMOTE


def text(value: str) -> bytes:
    """Return text as UTF-8. A lone surrogate becomes a question mark: protobuf has no place for it."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace")


def message(tag: bytes, body: bytes) -> bytes:
    """Return a field of a known length: a message, a string or bytes."""
    return tag + varint(len(body)) + body


def string(tag: bytes, value: str | None) -> bytes:
    """Return a string field, or nothing where it is empty or None."""
    return message(tag, text(value)) if value else b""


def count(tag: bytes, number: int) -> bytes:
    """Return a number, or nothing where it is zero."""
    return tag + varint(number) if number else b""


def time(tag: bytes, nanoseconds: int | None) -> bytes:
    """Return a time in nanoseconds, or nothing where it is zero or None."""
    return tag + fixed64(nanoseconds) if nanoseconds else b""


def times(start: int | None, end: int | None) -> bytes:
    """Return the start and end times of a span in nanoseconds; what is zero or None is not written."""
    if start and end:
        return _times(_START, start, _END, end)
    return time(SPAN_START_TIME, start) + time(SPAN_END_TIME, end)


def mark(name: str, nanoseconds: int | None) -> bytes:
    """Return an event without attributes as a span has it."""
    around = _marks.get(name)
    if around is None:
        body = string(EVENT_NAME, name)
        around = _marks[name] = (SPAN_EVENTS + varint(len(EVENT_TIME) + 8 + len(body)) + EVENT_TIME, body)
    return around[0] + fixed64(nanoseconds or 0) + around[1]


def short_field(key: bytes, value: bytes) -> bytes:
    """Return the field of a span's attribute that is shorter than 128 bytes.

    Args:
        key: the key's field, and the tag of the value.
        value: the body of an AnyValue.
    """
    length = len(value)
    return b"".join((SPAN_ATTRIBUTES, VARINTS[len(key) + 1 + length], key, VARINTS[length], value))


def key_start(key: str) -> bytes:
    """Return the key of a KeyValue and the tag of its value."""
    return string(KEY, key) + VALUE


def string_head(start: bytes, length: int) -> bytes:
    """Return what stands before a string of so many bytes in the field of a span's attribute; `start` is `key_start`."""
    value = _STRING_VALUE + varint(length)
    within = start + varint(len(value) + length) + value
    return SPAN_ATTRIBUTES + varint(len(within) + length) + within


def number_head(start: bytes, length: int) -> bytes:
    """Return what stands before a number from 0 on in the field of a span's attribute, by its length as a varint."""
    within = start + varint(len(_INT_VALUE) + length) + _INT_VALUE
    return SPAN_ATTRIBUTES + varint(len(within) + length) + within


def key_value(key: str, value: Any) -> bytes:
    """Return the body of a KeyValue.

    Raises:
        TypeError: the value is of a type that has no AnyValue.
    """
    packed = any_value(value)
    return b"".join((string(KEY, key), VALUE, varint(len(packed)), packed))


def any_value(value: Any) -> bytes:
    """Return the body of an AnyValue; an integer over 64 bits as its digits (specification: attribute type mapping).

    Raises:
        TypeError: the value is of a type that has no AnyValue.
    """
    if isinstance(value, str):
        return string_value(value)
    if value is None:
        return b""
    if isinstance(value, int):
        return _integer(value)
    return _other_value(value)


def string_value(value: str) -> bytes:
    """Return the body of an AnyValue that is a string."""
    try:
        packed = value.encode()
    except UnicodeEncodeError:
        packed = text(value)
    length = len(packed)
    return _STRING_VALUE + (VARINTS[length] if length < _SHORT else varint(length)) + packed


def _integer(value: int) -> bytes:
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if _INT64_MIN <= value <= _INT64_MAX:
        return _INT_VALUE + varint(int(value) & _UINT64)
    return message(_STRING_VALUE, str(int(value)).encode())


def _other_value(value: Any) -> bytes:
    if isinstance(value, float):
        return _DOUBLE_VALUE + double(value)
    if isinstance(value, bytes):
        return message(_BYTES_VALUE, value)
    if isinstance(value, Sequence):
        return message(_ARRAY_VALUE, b"".join([message(_VALUES, any_value(item)) for item in value]))
    if isinstance(value, Mapping):
        pairs = [message(_VALUES, key_value(str(key), item)) for key, item in value.items()]
        return message(_KVLIST_VALUE, b"".join(pairs))
    raise TypeError(f"an attribute's value cannot be a {type(value).__name__}")
