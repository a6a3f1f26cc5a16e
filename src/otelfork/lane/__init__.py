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
2. `Tracer._span_limits`, `_instrumentation_scope`, `_tracer_config`, `_tracer_metrics`, and `_span_processors` of its processor.
3. Those of `otelfork.lane.sampler`; where the provider is the user's own, those of `otelfork.lane.guarded`.
4. `BoundedAttributes._dict` and `_immutable`: our own values are valid, and are not checked one by one.

The probe is in `of`: it makes a span both ways and compares them. The public fallback is the tracer itself.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanContext, SpanKind

from otelfork.encoding.encoder import Encoder
from otelfork.lane.companion import Companion, Shared, accompanying, parting
from otelfork.lane.kinds import Ending, Kind
from otelfork.lane.span import MOST_OWN, RequestSpan
from otelfork.lane.starting import Lane
from otelfork.lane.unsampled import UnsampledSpan

__all__ = [
    "MOST_OWN", "Companion", "Ending", "Kind", "Lane", "RequestSpan", "Shared", "UnsampledSpan", "accompanying", "of", "parting",
]  # fmt: skip


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
        tracer._tracer_config.is_enabled  # noqa: B018 - read with each request
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
        Lane(tracer, _nowhere, None).start(kind, [None] * 7, Context(), None, 1),
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
