"""The request lane: a SERVER span that costs little until somebody looks at it, and is the SDK's span to whoever does.

`RequestSpan` is a subclass of the SDK's span whose fields are made when they are asked for: SpanContext, attributes, events
and links. What is done to a span (events, links, limits, status, names, counts of what was dropped) is the SDK's own code.
It must not know environ, scope or settings.

Private names of the SDK used here, all for one reason: the public way to a span (`Tracer.start_span`) makes everything at
once, at 20 microseconds a request.

1. `Span` subclassed, with its fields `_name _context _parent _start_time _end_time _status _attributes _events _links _lock
   _limits _resource _kind _instrumentation_info _instrumentation_scope _span_processor _record_exception
   _set_status_on_exception _sampler _trace_config _record_end_metrics` and its methods `_new_events`, `_readable_span`,
   `_on_ending`.
2. `Tracer._span_limits`, `_instrumentation_scope`, `_is_enabled`, `_tracer_metrics`, and `_span_processors` of its processor.
3. Those of `otelfork.lane.sampler`.
4. `BoundedAttributes._dict` and `_immutable`: our own values are valid, and are not checked one by one.

The probe is in `of`: it makes a span both ways and compares them. The public fallback is the tracer itself.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from otelfork.encoding.encoder import Encoder
from otelfork.lane.companion import MOST_ADDED, Companion, parting
from otelfork.lane.sampler import decider
from otelfork.lane.span import MOST_OWN, NOTHING_SHARED, RequestSpan, Shared

__all__ = ["MOST_OWN", "NOTHING_SHARED", "Companion", "Lane", "RequestSpan", "Shared", "of", "parting"]

_SAMPLED_RANDOM = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Lane:
    """Starts request spans in place of one SDK tracer.

    Args:
        tracer: the tracer that user code would get.
        put: takes an ended sampled span: the queue behind `processor`.
        processor: the processor that `put` stands for. While it and the companions are the provider's only ones, none is called.
        companions: processors of ours that came before it; they go along with local root spans.
    """

    share = Shared
    """Makes what `start` and `RequestSpan.describe` take."""

    def __init__(
        self,
        tracer: sdk.Tracer,
        put: Callable[[Any], None],
        processor: sdk.SpanProcessor | None,
        companions: Sequence[Companion] = (),
    ) -> None:
        held: Any = tracer
        self._tracer = held
        self._sampler = tracer.sampler
        self._decide = decider(tracer.sampler)
        self._processor = processor
        self._ids = tracer.id_generator
        limits = held._span_limits
        most = limits.max_span_attributes
        # Our own values are not cut or counted one by one: limits that could touch them are for the SDK's own span.
        self._trusting = limits.max_span_attribute_length is None and (most is None or most >= MOST_OWN)
        # What companions will add has to find room, too.
        self._most = MOST_OWN - MOST_ADDED if companions else MOST_OWN
        self._companions = tuple(companions)
        multi = held.span_processor
        ours = (*companions, processor)
        shared = {
            "__slots__": (),
            "__module__": __name__,
            "_resource": tracer.resource,
            "_limits": held._span_limits,
            "_instrumentation_scope": held._instrumentation_scope,
            "_instrumentation_info": tracer.instrumentation_info,
            "_span_processor": multi,
            "_sampler": tracer.sampler,
            "_put": staticmethod(put),
            "_alone": staticmethod(lambda: multi._span_processors == ours),
        }
        self._span: Any = type("RequestSpan", (RequestSpan,), shared)

    def start(  # noqa: PLR0917 - one call, on the request path: keywords cost
        self,
        name: str,
        context: Context,
        parent: SpanContext | None,
        own: dict[str, Any],
        start_time: int,
        shared: Shared = NOTHING_SHARED,
    ) -> trace.Span:
        """Start a SERVER span.

        Args:
            name: its name.
            context: the context it is started in.
            parent: the span context in it if that is valid, else None.
            own: its attributes, of our own making; the span keeps the dictionary.
            start_time: nanoseconds since the epoch.
            shared: attributes that come before its own, the same for many spans.
        """
        tracer = self._tracer
        decide = self._decide
        usable = self._trusting and len(own) + len(shared.attributes) <= self._most
        if decide is None or not usable or tracer.sampler is not self._sampler or not tracer._is_enabled():
            started: trace.Span = tracer.start_span(
                name,
                context=context,
                kind=SpanKind.SERVER,
                attributes={**shared.attributes, **own},
                start_time=start_time,
            )
            return started
        ids = self._ids
        if parent is None:
            trace_id = ids.generate_trace_id()
            random = bool(ids.is_trace_id_random())
        else:
            trace_id = parent.trace_id
            random = bool(parent.trace_flags & TraceFlags.RANDOM_TRACE_ID)
        if not decide(parent, trace_id):
            flags = TraceFlags(TraceFlags.RANDOM_TRACE_ID if random else 0)
            state = None if parent is None else parent.trace_state
            return trace.NonRecordingSpan(
                SpanContext(trace_id, ids.generate_span_id(), is_remote=False, trace_flags=flags, trace_state=state)
            )
        flags = _SAMPLED_RANDOM if random else _SAMPLED
        span_id = ids.generate_span_id()
        companions = self._companions
        if companions and (parent is None or parent.is_remote) and self._span._alone():
            for companion in companions:
                shared = companion.accompany(name, trace_id, span_id, own, shared)
        span: RequestSpan = self._span(name, trace_id, span_id, parent, flags, own, start_time, shared)
        if not span._alone():
            tracer.span_processor.on_start(span, parent_context=context)
        return span


def of(
    tracer: Any,
    put: Callable[[Any], None],
    processor: sdk.SpanProcessor | None,
    companions: Sequence[Companion] = (),
) -> Lane | None:
    """Return a lane in place of this tracer, or None where the probe does not find the SDK that the lane was written for.

    None, too, for a tracer of another class and where the SDK's metrics about spans are on: they count in `start_span`.
    """
    try:
        if type(tracer) is not sdk.Tracer or type(tracer._tracer_metrics).__name__ != "NoOpTracerMetrics":
            return None
        return Lane(tracer, put, processor, companions) if fits() else None
    except Exception:
        return None


@cache
def fits() -> bool:
    """Probe, once: a span of each make, after the same calls, is the same to the encoder."""
    provider = sdk.TracerProvider(
        sampling.ALWAYS_ON, Resource.get_empty(), shutdown_on_exit=False, id_generator=_OneId()
    )
    tracer: Any = provider.get_tracer("otelfork.probe")
    made = [
        tracer.start_span("probe", Context(), SpanKind.SERVER, {"key": "value"}, start_time=1),
        Lane(tracer, _nowhere, None).start("probe", Context(), None, {"key": "value"}, 1),
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
    return expected == ours.span(made[1]._readable_span()) and expected == made[1].otlp(ours)


def _nowhere(_span: Any) -> None:
    """Stand in for a queue."""


class _OneId(IdGenerator):
    def generate_span_id(self) -> int:
        return 1

    def generate_trace_id(self) -> int:
        return 2
