"""The structures of Jaeger's Thrift interface, as a table for the `thrift` runtime.

Source: jaeger-idl, `thrift/jaeger.thrift`. Field numbers and types are the wire format; they must not know OpenTelemetry.
"""

from __future__ import annotations

from typing import Any

from thrift.protocol.TBase import TBase  # type: ignore[import-untyped]
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated  # type: ignore[import-untyped]
from thrift.Thrift import TType  # type: ignore[import-untyped]
from thrift.transport.TTransport import TMemoryBuffer  # type: ignore[import-untyped]

# jaeger.thrift, enum TagType
STRING, DOUBLE, BOOL, LONG, BINARY = range(5)
# jaeger.thrift, enum SpanRefType
CHILD_OF, FOLLOWS_FROM = range(2)

_Field = tuple[Any, ...]


def _text(number: int, name: str) -> _Field:
    return (number, TType.STRING, name, "UTF8", None)


def _plain(number: int, kind: int, name: str) -> _Field:
    return (number, kind, name, None, None)


def _structs(number: int, name: str, of: Any) -> _Field:
    return (number, TType.LIST, name, (TType.STRUCT, [of, of.thrift_spec], False), None)


class _Struct(TBase):  # type: ignore[misc]
    """A structure with the fields of its `thrift_spec`; a field that is not given is None and not sent."""

    __slots__: tuple[str, ...] = ()
    thrift_spec: tuple[_Field | None, ...] = ()

    def __init__(self, **fields: Any) -> None:
        for name in self.__slots__:
            setattr(self, name, fields.get(name))


class Tag(_Struct):
    """A key and one value of the type that `vType` names."""

    __slots__ = ("key", "vBinary", "vBool", "vDouble", "vLong", "vStr", "vType")
    thrift_spec = (
        None,
        _text(1, "key"),
        _plain(2, TType.I32, "vType"),
        _text(3, "vStr"),
        _plain(4, TType.DOUBLE, "vDouble"),
        _plain(5, TType.BOOL, "vBool"),
        _plain(6, TType.I64, "vLong"),
        (7, TType.STRING, "vBinary", "BINARY", None),
    )


class Log(_Struct):
    """What happened at a time (microseconds since the epoch)."""

    __slots__ = ("fields", "timestamp")
    thrift_spec = (None, _plain(1, TType.I64, "timestamp"), _structs(2, "fields", Tag))


class SpanRef(_Struct):
    """A reference to another span."""

    __slots__ = ("refType", "spanId", "traceIdHigh", "traceIdLow")
    thrift_spec = (
        None,
        _plain(1, TType.I32, "refType"),
        _plain(2, TType.I64, "traceIdLow"),
        _plain(3, TType.I64, "traceIdHigh"),
        _plain(4, TType.I64, "spanId"),
    )


class Span(_Struct):
    """A span; times in microseconds, `flags` 1 is sampled and 2 is debug."""

    __slots__ = (
        "duration",
        "flags",
        "logs",
        "operationName",
        "parentSpanId",
        "references",
        "spanId",
        "startTime",
        "tags",
        "traceIdHigh",
        "traceIdLow",
    )
    thrift_spec = (
        None,
        _plain(1, TType.I64, "traceIdLow"),
        _plain(2, TType.I64, "traceIdHigh"),
        _plain(3, TType.I64, "spanId"),
        _plain(4, TType.I64, "parentSpanId"),
        _text(5, "operationName"),
        _structs(6, "references", SpanRef),
        _plain(7, TType.I32, "flags"),
        _plain(8, TType.I64, "startTime"),
        _plain(9, TType.I64, "duration"),
        _structs(10, "tags", Tag),
        _structs(11, "logs", Log),
    )


class Process(_Struct):
    """Who made the spans of a batch."""

    __slots__ = ("serviceName", "tags")
    thrift_spec = (None, _text(1, "serviceName"), _structs(2, "tags", Tag))


class Batch(_Struct):
    """The spans of one process."""

    __slots__ = ("process", "spans")
    thrift_spec = (
        None,
        (1, TType.STRUCT, "process", [Process, Process.thrift_spec], None),
        _structs(2, "spans", Span),
    )


def encode(batch: Batch) -> bytes:
    """Return the batch in Thrift's binary protocol. Every call has a buffer of its own: a failure leaves nothing behind."""
    buffer = TMemoryBuffer()
    batch.write(TBinaryProtocolAccelerated(buffer, fallback=True))
    encoded: bytes = buffer.getvalue()
    return encoded
