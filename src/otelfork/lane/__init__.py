"""The request lane: a SERVER span that costs little until somebody looks at it, and is the SDK's span to whoever does.

`RequestSpan` is a subclass of the SDK's span whose fields are made when they are asked for: SpanContext, attributes, events
and links. What is done to a span (events, links, limits, status, names, counts of what was dropped) is the SDK's own code.
It must not know environ, scope or settings.

Private names of the SDK used here, all for one reason: the public way to a span (`Tracer.start_span`) makes everything at
once, at 20 microseconds a request.

1. `Span` subclassed, with its fields `_name _context _parent _start_time _end_time _status _attributes _events _links _lock
   _limits _resource _kind _instrumentation_info _instrumentation_scope _span_processor _record_exception
   _set_status_on_exception _sampler _trace_config _record_end_metrics` and its methods `_new_events`, `_readable_span`,
   `_on_ending`; `NonRecordingSpan` of the API subclassed, with its field `_context`.
2. `Tracer._span_limits`, `_instrumentation_scope`, `_is_enabled`, `_tracer_metrics`, and `_span_processors` of its processor.
3. Those of `otelfork.lane.sampler`; where the provider is the user's own, those of `otelfork.lane.guarded`.
4. `BoundedAttributes._dict` and `_immutable`: our own values are valid, and are not checked one by one.

The probe is in `of`: it makes a span both ways and compares them. The public fallback is the tracer itself.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from otelfork.encoding.encoder import Encoder
from otelfork.lane.companion import MOST_ADDED, Companion, Shared, accompanying, parting
from otelfork.lane.kinds import Ending, Kind
from otelfork.lane.sampler import decider, verdict
from otelfork.lane.sole import Sole
from otelfork.lane.span import MOST_MARKS, MOST_OWN, RequestSpan
from otelfork.lane.unsampled import UnsampledSpan, remote
from otelfork.resource.identity import ProcessIdGenerator

__all__ = [
    "MOST_OWN", "Companion", "Ending", "Kind", "Lane", "RequestSpan", "Shared", "UnsampledSpan", "accompanying", "of", "parting",
]  # fmt: skip

_new: Any = object.__new__
_RANDOM = int(TraceFlags.RANDOM_TRACE_ID)


@final
class Lane:
    """Starts request spans in place of one SDK tracer.

    Args:
        tracer: the tracer that user code would get.
        put: takes an ended sampled span: the queue behind `processor`.
        processor: the processor that `put` stands for. While it and the companions are the provider's only ones, none is called.
        companions: processors of ours that came before it; they go along with local root spans.
        alone: tells whether `put` stands for all processors, where those are not ours (see `lane.guarded`).
    """

    __slots__ = (
        "_accompany", "_alone", "_decide", "_enabled", "_ids", "_multi", "_new_span_id", "_new_trace_id", "_random", "_root",
        "_sampled", "_sampler", "_span", "_tracer", "_unsampled", "_usable",
    )  # fmt: skip

    def __init__(
        self,
        tracer: sdk.Tracer,
        put: Callable[[Any], None],
        processor: sdk.SpanProcessor | None,
        companions: Sequence[Companion] = (),
        alone: Any = None,
    ) -> None:
        held: Any = tracer
        self._tracer = held
        self._enabled = held._is_enabled
        self._sampler = tracer.sampler
        self._decide = decider(tracer.sampler)
        self._root, self._sampled, self._unsampled = (verdict(tracer.sampler, case) for case in (None, True, False))
        self._ids = ids = tracer.id_generator
        bits = _bits(ids)
        self._new_trace_id = ids.generate_trace_id if bits is None else partial(bits, 128)
        self._new_span_id = ids.generate_span_id if bits is None else partial(bits, 64)
        self._random = _RANDOM if ids.is_trace_id_random() else 0
        limits = held._span_limits
        most = limits.max_span_attributes
        # Our own values are not cut or counted one by one: limits that could touch them are for the SDK's own span.
        needed = MOST_OWN + (MOST_ADDED if companions else 0)
        trusting = limits.max_span_attribute_length is None and (most is None or most >= needed)
        trusting = trusting and (limits.max_events is None or limits.max_events >= MOST_MARKS)
        self._usable = trusting and self._decide is not None
        self._accompany = accompanying(companions)
        multi = held.span_processor
        self._multi = multi
        self._alone = alone or Sole(multi, (*companions, processor))
        shared = {
            "__slots__": (),
            "__module__": __name__,
            "_resource": tracer.resource,
            "_limits": limits,
            "_instrumentation_scope": held._instrumentation_scope,
            "_instrumentation_info": tracer.instrumentation_info,
            "_span_processor": multi,
            "_sampler": tracer.sampler,
            "_put": staticmethod(put),
            "_alone": self._alone,
        }
        self._span: Any = type("RequestSpan", (RequestSpan,), shared)

    def begin(self, kind: Kind, sketch: Any, sender: bytes | None, start_time: int) -> Any:
        """Start a SERVER span with nothing around it but its sender; None where `start` has to do it.

        Args:
            kind: its name, and how its attributes are made.
            sketch: what they are made of.
            sender: the remote parent, as `RequestSpan` has it, or None.
            start_time: nanoseconds since the epoch.
        """
        alone = self._alone
        if (
            not self._usable
            or self._tracer.sampler is not self._sampler
            or not self._enabled()
            or (self._multi._span_processors is not alone.seen and not alone())
        ):
            return None
        if sender is None:
            number = self._new_trace_id() or self._ids.generate_trace_id()
            trace_id = number.to_bytes(16, "big")
            flags = self._random
            keep = self._root
            if keep is None:
                keep = self._kept(None, trace_id)
        else:
            trace_id = sender[1:17]
            flags = sender[25]
            keep = self._sampled if flags & 1 else self._unsampled
            flags &= _RANDOM
            if keep is None:
                keep = self._kept(remote(sender), trace_id)
        span_id = (self._new_span_id() or self._ids.generate_span_id()).to_bytes(8, "big")
        if keep:
            if self._accompany is not None:
                kind = self._accompany(kind, trace_id, span_id)
            # Not by a call of the class: the SDK's `__new__` and an `__init__` cost as much as all the rest.
            span = _new(self._span)
            span._what = kind
            span._name = kind.name
            span._sketch = sketch
            span.trace_bytes = trace_id
            span.id_bytes = span_id
            span.sender = sender
            span.flags = flags | 1
            span._start_time = start_time
            span._end_time = span._ending = None
            return span
        unsampled = _new(UnsampledSpan)
        unsampled.trace_bytes = trace_id
        unsampled.id_bytes = span_id
        unsampled.sender = sender
        unsampled.flags = flags
        return unsampled

    def start(
        self, kind: Kind, sketch: Any, context: Context, parent: SpanContext | None, start_time: int
    ) -> trace.Span:
        """Start a SERVER span, whatever is around it.

        Args:
            kind: its name, and how its attributes are made.
            sketch: what they are made of.
            context: the context it is started in.
            parent: the span context in it if that is valid, else None.
            start_time: nanoseconds since the epoch.
        """
        tracer = self._tracer
        if not self._usable or tracer.sampler is not self._sampler or not self._enabled():
            started: trace.Span = tracer.start_span(
                kind.name,
                context=context,
                kind=SpanKind.SERVER,
                attributes=kind.attributes(sketch),
                start_time=start_time,
            )
            return started
        sender = None if parent is None else _sender(parent)
        trace_id = self._ids.generate_trace_id().to_bytes(16, "big") if sender is None else sender[1:17]
        flags = self._random if sender is None else sender[25] & _RANDOM
        span_id = self._ids.generate_span_id().to_bytes(8, "big")
        if not self._kept(parent, trace_id):
            return UnsampledSpan(trace_id, span_id, sender, flags, None if parent is None else parent.trace_state)
        if self._accompany is not None and (parent is None or parent.is_remote) and self._alone():
            kind = self._accompany(kind, trace_id, span_id)
        span: RequestSpan = self._span(kind, sketch, trace_id, span_id, sender, flags | 1, start_time, parent)
        if not self._alone():
            tracer.span_processor.on_start(span, parent_context=context)
        return span

    def _kept(self, parent: SpanContext | None, trace_id: bytes) -> bool:
        decide = self._decide
        return decide is not None and decide(parent, int.from_bytes(trace_id, "big"))


def _sender(parent: SpanContext) -> bytes:
    flags = int(parent.trace_flags) & 0xFF
    return b"".join((b"\0", parent.trace_id.to_bytes(16, "big"), parent.span_id.to_bytes(8, "big"), bytes((flags,))))


def _bits(ids: IdGenerator) -> Callable[[int], int] | None:
    """Return the source of random bits behind a generator that adds nothing to them, None for any other."""
    if type(ids) is ProcessIdGenerator:
        return ids.bits
    return random.getrandbits if type(ids) is RandomIdGenerator else None


def of(
    tracer: Any,
    put: Callable[[Any], None],
    processor: sdk.SpanProcessor | None,
    companions: Sequence[Companion] = (),
    *,
    alone: Any = None,
) -> Lane | None:
    """Return a lane in place of this tracer, or None where the probe does not find the SDK that the lane was written for.

    None, too, for a tracer of another class and where the SDK's metrics about spans are on: they count in `start_span`.
    """
    try:
        if type(tracer) is not sdk.Tracer or type(tracer._tracer_metrics).__name__ != "NoOpTracerMetrics":
            return None
        return Lane(tracer, put, processor, companions, alone) if fits() else None
    except Exception:
        return None


class _Probed:
    """Stands in for the kind of a request."""

    name = "probe"

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._attributes = dict(attributes)

    def attributes(self, _: object) -> dict[str, Any]:
        return self._attributes

    def pack(self, _: object, encoder: Encoder) -> bytes:
        return encoder.joined(self._attributes)


@cache
def fits() -> bool:
    """Probe, once: a span of each make, after the same calls, is the same to the encoder."""
    provider = sdk.TracerProvider(
        sampling.ALWAYS_ON, Resource.get_empty(), shutdown_on_exit=False, id_generator=_OneId()
    )
    tracer: Any = provider.get_tracer("otelfork.probe")
    kind = _Probed({"key": "value"})
    made = [
        tracer.start_span("probe", Context(), SpanKind.SERVER, {"key": "value"}, start_time=1),
        Lane(tracer, _nowhere, None).start(kind, None, Context(), None, 1),
    ]
    for span in made:
        span.set_attribute("later", 1)
        span.add_event("event", {"key": "value"}, 2)
        span.add_link(SpanContext(1, 2, is_remote=True), {"key": "value"})
        span.set_status(trace.StatusCode.ERROR, "why")
        span.update_name("other")
        span.end(3)
    ours = Encoder()
    expected = ours.span(made[0])
    spans = [ours.encode([span]) for span in made]
    return expected == ours.span(made[1]._readable_span()) and spans[0] == spans[1]


def _nowhere(_span: Any) -> None:
    """Stand in for a queue."""


class _OneId(IdGenerator):
    def generate_span_id(self) -> int:
        return 1

    def generate_trace_id(self) -> int:
        return 2
