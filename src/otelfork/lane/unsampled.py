"""Spans of which nothing is kept but their ids, and the span contexts that are made of ids.

Private names of OpenTelemetry: see `otelfork.lane`.
"""

from __future__ import annotations

from typing import cast

from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags

from otelfork.senders import trace_of

_NO_STATE = trace.TraceState()


class UnsampledSpan(trace.NonRecordingSpan):
    """The span of a request that is not sampled: nothing but a span context, made when it is asked for."""

    __slots__ = ("finished", "flags", "id_bytes", "received", "root_trace", "seconds", "sender", "sent")

    _inner = None
    """Nobody can touch it."""

    # Of few: in the span's dictionary.
    _made: SpanContext | None = None
    _state: trace.TraceState | None = None

    def __init__(
        self,
        root_trace: bytes | None,
        span_id: bytes,
        sender: bytes | None,
        flags: int,
        state: trace.TraceState | None = None,
    ) -> None:
        self.root_trace = root_trace
        self.id_bytes = span_id
        self.sender = sender
        self.flags = flags
        if state is not None:
            self.__dict__["_state"] = state

    @property
    def trace_bytes(self) -> bytes:
        """The trace id, 16 bytes."""
        return trace_of(self.sender) if self.sender is not None else cast("bytes", self.root_trace)

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
