"""The private names of OpenTelemetry that exporting spans uses, all of them here, each with its reason.

1. The global names `encode_spans` of `OTLPSpanExporter.export` (HTTP) and of `_translate_data` (gRPC). The standard exporter
   encodes and sends in one method, and endpoint, headers, compression, certificates, retries and its own metrics are to stay
   its business. Without them: the standard exporter as it is.
2. The global name `TraceServiceStub` of `OTLPSpanExporter.__init__` (gRPC). Its stub takes messages only, ours are bytes
   already. Without it: the standard exporter as it is.
3. `_attributes`, `_events` and `_links` of `ReadableSpan`, with `_dict` and `_dq` of what they hold. The public properties copy
   each of them, two under a lock: a third of the time that a span takes. Without them: the public properties.

A probe looks at the methods when the exporter is imported. Where they are not what is expected, or where
OTELFORK_PUBLIC_NAMES_ONLY is set, the standard exporter is used as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList

from otelfork.encoder import Encoder, Parts, parts
from otelfork.exporters import Factory
from otelfork.settings import Environment

_logger = logging.getLogger("otelfork")
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def over_http(standard: type) -> Factory:
    """Return the factory of the standard HTTP exporter of spans, with our encoder where the probe allows it."""
    if not _allowed() or not _uses(standard, "export", "encode_spans", "SerializePartialToString"):
        return standard
    read = reader()

    def make(**options: Any) -> Any:
        encode = _encoding(Encoder(read))
        export = _with_globals(standard, "export", encode_spans=lambda spans: _Message(encode(spans)))
        return _subclass(standard, export=export)(**options)

    return make


def over_grpc(standard: type) -> Factory:
    """Return the factory of the standard gRPC exporter of spans, with our encoder where the probe allows it."""
    fits = _uses(standard, "_translate_data", "encode_spans") and _uses(standard, "__init__", "TraceServiceStub")
    if not _allowed() or not fits:
        return standard
    read = reader()

    def make(**options: Any) -> Any:
        translate = _with_globals(standard, "_translate_data", encode_spans=_encoding(Encoder(read)))
        init = _with_globals(standard, "__init__", TraceServiceStub=_Stub)
        return _subclass(standard, _translate_data=translate, __init__=init)(**options)

    return make


def _allowed() -> bool:
    return not Environment().boolean("OTELFORK_PUBLIC_NAMES_ONLY")


def _uses(standard: type, method: str, *names: str) -> bool:
    """Probe: whether a plain function of the class itself looks these names up."""
    function = vars(standard).get(method)
    code: Any = getattr(function, "__code__", None)
    plain = isinstance(function, FunctionType) and isinstance(code, CodeType) and not code.co_freevars
    return plain and set(names) <= set(code.co_names)


def _with_globals(standard: type, method: str, **replaced: Any) -> FunctionType:
    """Return a method as it is, with other values for some global names; the module itself is not touched."""
    function = vars(standard)[method]
    copy = FunctionType(
        function.__code__, {**function.__globals__, **replaced}, function.__name__, function.__defaults__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _subclass(standard: type, **methods: Any) -> type:
    """Return a subclass by the standard's own name and module, for whoever reads its log lines."""
    return type(standard.__name__, (standard,), {"__module__": standard.__module__, **methods})


def _encoding(encoder: Encoder) -> Callable[[Sequence[Any]], bytes]:
    def encode(spans: Sequence[Any]) -> bytes:
        refused = encoder.refused
        packed = encoder.encode(spans)
        if encoder.refused > refused:
            _logger.error("%d spans could not be encoded: %s", encoder.refused - refused, encoder.reason)
        return packed

    return encode


class _Message:
    """Stands in for an `ExportTraceServiceRequest` that is bytes already; what else is asked of it, the real one answers."""

    __slots__ = ("_packed",)

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def SerializePartialToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self._packed

    SerializeToString = SerializePartialToString

    def __getattr__(self, name: str) -> Any:
        return getattr(ExportTraceServiceRequest.FromString(self._packed), name)


class _Stub:
    """The standard stub, but for a request that is bytes already (gRPC: no serializer, the bytes are sent as they are)."""

    def __init__(self, channel: Any) -> None:
        self.Export = channel.unary_unary(
            _METHOD, request_serializer=None, response_deserializer=ExportTraceServiceResponse.FromString
        )


def reader() -> Callable[[Any], Parts] | None:
    """Return what takes a finished span apart without copying, if the probe finds what it expects."""
    if not _allowed():
        return None
    attributes, held = BoundedAttributes(attributes={"key": "value"}), BoundedList.from_seq(1, ["old", "new"])
    made: Callable[..., ReadableSpan] = ReadableSpan
    span = made("probe", attributes=attributes, events=held, links=held, resource=Resource.get_empty())
    try:
        kept, *found = _parts(span)
        _, *expected = parts(span)
    except Exception:
        return None
    fits = kept == {"key": "value"} and list(map(_listed, found)) == list(map(_listed, expected))
    return _parts if fits else None


def _listed(part: Any) -> Any:
    return part if isinstance(part, int) else list(part)


_HELD = (BoundedAttributes, BoundedList, BoundedList)


def _parts(span: Any) -> Parts:
    # A subclass may show something else than it holds, and whoever makes a ReadableSpan may give it anything.
    if type(span) is ReadableSpan:
        attributes: Any = span._attributes  # noqa: SLF001
        events: Any = span._events  # noqa: SLF001
        links: Any = span._links  # noqa: SLF001
        if (type(attributes), type(events), type(links)) == _HELD:
            return attributes._dict, attributes.dropped, events._dq, events.dropped, links._dq, links.dropped  # noqa: SLF001
    return parts(span)
