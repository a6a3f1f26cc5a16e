"""The private names of OpenTelemetry that exporting spans uses, all of them here, each with its reason.

1. The global names `encode_spans` and `encode_logs` of `export` (HTTP) and of `_translate_data` (gRPC). The standard exporters
   encode and send in one method, and endpoint, headers, compression, certificates and their own metrics are to stay their
   business. Without them: the standard exporter as it is, and no spool.
2. The global names `TraceServiceStub`, `LogsServiceStub`, `MetricsServiceStub` of `__init__` (gRPC). The stubs take messages
   only, ours are bytes already; and what the collector answers (a partial success, when to try again) is heard nowhere else.
   Without them: the standard exporter as it is, whose log line tells whether its failure may pass.
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
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList

from otelfork.encoding.encoder import Encoder, Parts, parts
from otelfork.exporters import Factory
from otelfork.exporters.parcels import Message, Parcel
from otelfork.settings import Environment

_logger = logging.getLogger("otelfork")
_METHOD = "/opentelemetry.proto.collector.{}.v1.{}Service/Export"


def over_http(standard: type) -> Factory:
    """Return the factory of the standard HTTP exporter of spans, with our encoder where the probe allows it."""
    if not _allowed() or not _uses(standard, "export", "encode_spans", "SerializePartialToString"):
        return standard
    read = reader()

    def make(**options: Any) -> Any:
        encode = _encoding(Encoder(read))
        replaced = {"encode_spans": lambda spans: Message(encode(spans), ExportTraceServiceRequest)}
        return _subclass(standard, export=_with_globals(standard, "export", **replaced))(**options)

    return make


def over_grpc(standard: type) -> Factory:
    """Return the factory of the standard gRPC exporter of spans, with our encoder where the probe allows it."""
    fits = _uses(standard, "_translate_data", "encode_spans") and _uses(standard, "__init__", "TraceServiceStub")
    if not _allowed() or not fits:
        return standard
    from otelfork.exporters import rpc

    read = reader()

    def make(**options: Any) -> Any:
        translate = _with_globals(standard, "_translate_data", encode_spans=_encoding(Encoder(read)))
        init = _with_globals(standard, "__init__", TraceServiceStub=rpc.stub(_METHOD.format("trace", "Trace")))
        return _subclass(standard, _translate_data=translate, __init__=init)(**options)

    return make


def logs_over_http(standard: type) -> Factory:
    """Return the factory of the standard HTTP exporter of logs, which takes a `Parcel` too where the probe allows it."""
    if not _allowed() or not _uses(standard, "export", "encode_logs", "SerializeToString"):
        return standard
    replaced = {"encode_logs": _logs_encoding(_global(standard, "export", "encode_logs"))}
    return _subclass(standard, export=_with_globals(standard, "export", **replaced))


def logs_over_grpc(standard: type) -> Factory:
    """Return the factory of the standard gRPC exporter of logs, which takes a `Parcel` too where the probe allows it."""
    fits = _uses(standard, "_translate_data", "encode_logs") and _uses(standard, "__init__", "LogsServiceStub")
    if not _allowed() or not fits:
        return standard
    from otelfork.exporters import rpc

    encode = _logs_encoding(_global(standard, "_translate_data", "encode_logs"))
    translate = _with_globals(standard, "_translate_data", encode_logs=encode)
    init = _with_globals(standard, "__init__", LogsServiceStub=rpc.stub(_METHOD.format("logs", "Logs")))
    return _subclass(standard, _translate_data=translate, __init__=init)


def metrics_over_grpc(standard: type) -> Factory:
    """Return the factory of the standard gRPC exporter of metrics, whose answers are heard where the probe allows it."""
    if not _allowed() or not _uses(standard, "__init__", "MetricsServiceStub"):
        return standard
    from otelfork.exporters import rpc

    init = _with_globals(standard, "__init__", MetricsServiceStub=rpc.stub(_METHOD.format("metrics", "Metrics")))
    return _subclass(standard, __init__=init)


def takes_parcels(made: Factory, standard: type) -> bool:
    """Tell whether the exporters of this factory send what is encoded already: those of the public fallback do not."""
    return made is not standard


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


def _global(standard: type, method: str, name: str) -> Any:
    return vars(standard)[method].__globals__[name]


def _encoding(encoder: Encoder) -> Callable[[Any], bytes]:
    def encode(spans: Any) -> bytes:
        if isinstance(spans, Parcel):
            return spans.packed
        refused = encoder.refused
        packed = encoder.encode(spans)
        if encoder.refused > refused:
            _logger.error("%d spans could not be encoded: %s", encoder.refused - refused, encoder.reason)
        return packed

    return encode


def _logs_encoding(encode_logs: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def encode(batch: Any) -> Any:
        return Message(batch.packed, ExportLogsServiceRequest) if isinstance(batch, Parcel) else encode_logs(batch)

    return encode


def packer(signal: str) -> Callable[[Sequence[Any]], bytes]:
    """Return what encodes a batch of a signal for the spool, for one thread."""
    if signal == "traces":
        return _encoding(Encoder(reader()))
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    return lambda batch: bytes(encode_logs(batch).SerializeToString())


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
