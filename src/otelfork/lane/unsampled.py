"""Spans of which nothing is kept but their ids, and the span contexts that are made of ids.

Private names of OpenTelemetry: see `otelfork.lane`.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags

_NO_STATE = trace.TraceState()
_KNOWN_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID


class UnsampledSpan(trace.NonRecordingSpan):
    """The span of a request that is not sampled: nothing but a span context, made when it is asked for."""

    __slots__ = ("finished", "flags", "id_bytes", "received", "seconds", "sender", "sent", "trace_bytes")

    _inner = None
    """Nobody can touch it."""

    # Of few: in the span's dictionary.
    _made: SpanContext | None = None
    _state: trace.TraceState | None = None

    def __init__(
        self,
        trace_id: bytes,
        span_id: bytes,
        sender: bytes | None,
        flags: int,
        state: trace.TraceState | None = None,
    ) -> None:
        self.trace_bytes = trace_id
        self.id_bytes = span_id
        self.sender = sender
        self.flags = flags
        if state is not None:
            self.__dict__["_state"] = state

    @property
    def _context(self) -> SpanContext:  # type: ignore[override]
        made = self._made
        if made is None:
            made = context_of(self.trace_bytes, self.id_bytes, self.flags, self._state)
            self.__dict__["_made"] = made
        return made

    def get_span_context(self) -> SpanContext:
        """See `opentelemetry.trace.Span.get_span_context`."""
        return self._context


def context_of(trace_id: bytes, span_id: bytes, flags: int, state: trace.TraceState | None) -> SpanContext:
    """Return the span context of these ids, of this process."""
    return SpanContext(
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        is_remote=False,
        trace_flags=TraceFlags(flags),
        trace_state=_NO_STATE if state is None else state,
    )


def remote(sender: bytes) -> SpanContext:
    """Return the sender's span context; for its layout see `RequestSpan`."""
    return SpanContext(
        int.from_bytes(sender[1:17], "big"),
        int.from_bytes(sender[17:25], "big"),
        is_remote=True,
        trace_flags=TraceFlags(sender[25] & _KNOWN_FLAGS),
        trace_state=_NO_STATE,
    )
