"""The standard OTLP exporters of spans that a user has made, with our encoder: the object stays what it is, and the user's.

Its `export` (HTTP) or `_translate_data` (gRPC) runs as it is, but that the name `encode_spans` means ours there. Endpoint, headers,
retries, limits, log lines and its own figures stay its business; all other global names are looked up in their module, when they
are used, as before. Nothing of the class or of the module changes, and no other exporter.

Private names used here: those two methods, `encode_spans`, and an attribute of that name in the exporter. The probe is `_way`: an
exporter of just that class, with just that method, and an encoder that nobody has replaced. What somebody puts in the place of
either later holds again. Without them, or where OTELFORK_PUBLIC_NAMES_ONLY is set, the exporter encodes as it did.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, NamedTuple, final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otelfork.encoding.encoder import Encoder
from otelfork.exporters.parcels import Message
from otelfork.exporters.private import reader

_ENCODE = "encode_spans"
_ENCODERS = "opentelemetry.exporter.otlp.proto.common."
_ours: weakref.WeakSet[Any] = weakref.WeakSet()
"""What was put in the place of standard methods."""


class _Way(NamedTuple):
    """How an exporter of a class is taken over.

    Attributes:
        name: of the method.
        method: as the class has it.
        encode: what the method encodes by.
        message: returns what stands in for the message that `encode` makes.
    """

    name: str
    method: Any
    encode: Callable[[Any], Any]
    message: Callable[[bytes], Any]


def adopt(exporter: Any) -> bool:
    """Let a user's exporter encode by our encoder; tell whether it does. It can be given spans of the lane's as they are then."""
    kind = type(exporter)
    way = _way(kind)
    if way is None:
        return False
    there = vars(exporter).get(way.name)
    if there is None:
        there = MethodType(_method(kind, way), exporter)
        setattr(exporter, way.name, there)
    return getattr(there, "__func__", None) in _ours


def _way(kind: type) -> _Way | None:
    """Probe: return how exporters of this class can be taken over, None where they are not what is expected."""
    if kind.__name__ != "OTLPSpanExporter":
        return None
    if kind.__module__ == "opentelemetry.exporter.otlp.proto.http.trace_exporter":
        # It asks the message for its bytes and for nothing else.
        name, message = "export", lambda packed: Message(packed, ExportTraceServiceRequest)
    elif kind.__module__ == "opentelemetry.exporter.otlp.proto.grpc.trace_exporter":
        name, message = "_translate_data", ExportTraceServiceRequest.FromString
    else:
        return None
    method = vars(kind).get(name)
    if not isinstance(method, FunctionType) or method.__module__ != kind.__module__ or method.__code__.co_freevars:
        return None
    encode: Any = method.__globals__.get(_ENCODE)
    plain = isinstance(encode, FunctionType) and encode.__module__.startswith(_ENCODERS)
    if not plain or _ENCODE not in method.__code__.co_names or hasattr(method, "__wrapped__"):
        return None
    return _Way(name, method, encode, message)


def _method(kind: type, way: _Way) -> Callable[..., Any]:
    standard = way.method
    copied = FunctionType(standard.__code__, _Over(standard.__globals__, _encoding(way)), way.name)
    copied.__defaults__, copied.__kwdefaults__ = standard.__defaults__, standard.__kwdefaults__

    @functools.wraps(standard)
    def ours(self: Any, *arguments: Any, **keywords: Any) -> Any:
        there: Any = vars(kind).get(way.name)
        if there is not standard:  # somebody has replaced it since
            return MethodType(there, self)(*arguments, **keywords)
        return copied(self, *arguments, **keywords)

    _ours.add(ours)
    return ours


@final
class _Over(dict[str, Any]):
    """The global names of a module, as they are when they are used, with another encoder."""

    __slots__ = ("_module",)

    def __init__(self, module: dict[str, Any], encode: Callable[[Any], Any]) -> None:
        super().__init__({_ENCODE: encode})
        self._module = module

    def __missing__(self, name: str) -> Any:
        return self._module[name]


def _encoding(way: _Way) -> Callable[[Any], Any]:
    # One for each thread: a processor exports on its own thread, and on that of whoever flushes it.
    local = threading.local()

    def encode(spans: Any) -> Any:
        standard = way.method.__globals__[_ENCODE]
        if standard is not way.encode:
            return standard(spans)
        encoder: Encoder | None = getattr(local, "encoder", None)
        if encoder is None:
            encoder = local.encoder = Encoder(reader())
        refused = encoder.refused
        packed = encoder.encode(spans)
        # What ours refuses, a span without an end or an attribute of a strange kind, fails there as it always did.
        return standard(spans) if encoder.refused > refused else way.message(packed)

    return encode
