"""What starts request spans in place of a tracer, and ends them. Private names of the SDK: see `otelfork.lane`."""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from otelfork.lane.companion import MOST_ADDED, Companion, accompanying
from otelfork.lane.kinds import Ending, Kind
from otelfork.lane.sampler import decider, verdict
from otelfork.lane.sole import Sole
from otelfork.lane.span import MOST_MARKS, MOST_OWN, RequestSpan
from otelfork.lane.unsampled import UnsampledSpan
from otelfork.resource.identity import ProcessIdGenerator
from otelfork.seals import seal
from otelfork.senders import FLAGS, remote, sender_of, trace_of

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
        "_accompany", "_alone", "_bits", "_decide", "_ids", "_known_sampler", "_multi", "_put",
        "_random", "_root", "_sampled", "_span", "_tracer", "_unsampled",
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
        self._decide = decider(tracer.sampler)
        self._root, self._sampled, self._unsampled = (verdict(tracer.sampler, case) for case in (None, True, False))
        self._ids = ids = tracer.id_generator
        self._bits = _bits(ids) or _no_bits
        self._random = _RANDOM if ids.is_trace_id_random() else 0
        limits = held._span_limits
        most = limits.max_span_attributes
        # Our own values are not cut or counted one by one: limits that could touch them are for the SDK's own span.
        needed = MOST_OWN + (MOST_ADDED if companions else 0)
        trusting = limits.max_span_attribute_length is None and (most is None or most >= needed)
        trusting = trusting and (limits.max_events is None or limits.max_events >= MOST_MARKS)
        # None, which is no sampler, where the tracer has to do it all.
        self._known_sampler = tracer.sampler if trusting and self._decide is not None else None
        self._accompany = accompanying(companions)
        self._put = put
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
            "_seal": seal(),
            "_alone": getattr(alone, "at_end", self._alone),
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
        tracer = self._tracer
        if (
            tracer.sampler is not self._known_sampler
            or not tracer._tracer_config.is_enabled
            or (self._multi._span_processors is not self._alone.seen and not self._alone())
        ):
            return None
        bits = self._bits  # read first and called then: in one step the interpreter looks for a method of the class
        root_trace: Any = None
        if sender is None:
            root_trace = (bits(128) or self._ids.generate_trace_id()).to_bytes(16, "big")
            flags = self._random
            keep = self._root
            if keep is None:
                keep = self._kept(None, root_trace)
        else:
            flags = sender[FLAGS]
            keep = self._sampled if flags & 1 else self._unsampled
            flags &= _RANDOM
            if keep is None:
                keep = self._kept(remote(sender), trace_of(sender))
        span_id = (bits(64) or self._ids.generate_span_id()).to_bytes(8, "big")
        # Not by a call of the class: the SDK's `__new__` and an `__init__` cost as much as all the rest.
        if not keep:
            unsampled = _new(UnsampledSpan)
            unsampled.root_trace = root_trace
            unsampled.id_bytes = span_id
            unsampled.sender = sender
            unsampled.flags = flags
            return unsampled
        if self._accompany is not None:
            kind = self._accompany(kind, root_trace if sender is None else trace_of(sender), span_id)
        span = _new(self._span)
        span._what = kind
        span._path, span._query, span._agent, span._peer, span._port, span._forwarded_for, span._headers = sketch
        span.root_trace = root_trace
        span.id_bytes = span_id
        span.sender = sender
        span.flags = flags | 1
        span._start_time = start_time
        span._end_time = span._ending = span._inner = None
        return span

    def close(self, span: RequestSpan, end_time: int, ending: Ending) -> None:
        """End a sampled span of this lane, begun in this process: in place of four calls, whose values need no check.

        Args:
            span: what `begin` or `start` returned.
            end_time: nanoseconds since the epoch.
            ending: what is known of its request by now.
        """
        if (
            span._inner is not None
            or span._end_time is not None
            or (self._multi._span_processors is not self._alone.seen and not self._alone())
        ):
            span.close(end_time, ending)
            return
        span._ending = ending
        span._end_time = end_time
        if span._inner is not None:  # another thread has touched it in this very moment
            span._inner.ended(ending.attributes)
        put = self._put
        put(span)

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
        if tracer.sampler is not self._known_sampler or not tracer._tracer_config.is_enabled:
            started: trace.Span = tracer.start_span(
                kind.name,
                context=context,
                kind=SpanKind.SERVER,
                attributes=kind.attributes(sketch),
                start_time=start_time,
            )
            return started
        sender = None if parent is None else sender_of(parent)
        trace_id = (self._ids.generate_trace_id() if parent is None else parent.trace_id).to_bytes(16, "big")
        root_trace = trace_id if sender is None else None
        flags = self._random if sender is None else sender[FLAGS] & _RANDOM
        span_id = self._ids.generate_span_id().to_bytes(8, "big")
        if not self._kept(parent, trace_id):
            return UnsampledSpan(root_trace, span_id, sender, flags, None if parent is None else parent.trace_state)
        if self._accompany is not None and (parent is None or parent.is_remote) and self._alone():
            kind = self._accompany(kind, trace_id, span_id)
        span: RequestSpan = self._span(kind, sketch, root_trace, span_id, sender, flags | 1, start_time, parent)
        if not self._alone():
            tracer.span_processor.on_start(span, parent_context=context)
        return span

    def _kept(self, parent: SpanContext | None, trace_id: bytes) -> bool:
        decide = self._decide
        return decide is not None and decide(parent, int.from_bytes(trace_id, "big"))


def _no_bits(_: int) -> int:
    """Return 0, which is no id: then the generator is asked."""
    return 0


def _bits(ids: IdGenerator) -> Callable[[int], int] | None:
    """Return the source of random bits behind a generator that adds nothing to them, None for any other."""
    if type(ids) is ProcessIdGenerator:
        return ids.bits
    return random.getrandbits if type(ids) is RandomIdGenerator else None
