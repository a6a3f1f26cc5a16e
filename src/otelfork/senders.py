"""The sender of a request as its span keeps it: the `traceparent` that came, read when it is wanted.

55 bytes in the form of version 00 (W3C Trace Context, section 3.2.2), valid, with no other flags than those that mean something.
Whoever has a header gets them from `request.propagation.sender`.
"""

from __future__ import annotations

from binascii import unhexlify

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

KNOWN_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID
TRACE, SPAN = slice(3, 35), slice(36, 52)
"""Where the ids are, in digits."""
FLAGS = 54
"""Where the flags are: a digit, whose two lowest bits are those of the number."""
_CONTEXT_FLAGS = tuple(map(TraceFlags, range(KNOWN_FLAGS + 1)))
_NO_STATE = TraceState()


def sender_of(parent: SpanContext) -> bytes:
    """Return a span context as a sender."""
    return made(parent.trace_id, parent.span_id, parent.trace_flags)


def made(trace_id: int, span_id: int, flags: int) -> bytes:
    """Return a sender of these ids and flags."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, flags & KNOWN_FLAGS)


def trace_of(sender: bytes) -> bytes:
    """Return the trace id, 16 bytes."""
    return unhexlify(sender[TRACE])


def remote(sender: bytes) -> SpanContext:
    """Return the sender's span context."""
    return SpanContext(
        int(sender[TRACE], 16),
        int(sender[SPAN], 16),
        is_remote=True,
        trace_flags=_CONTEXT_FLAGS[sender[FLAGS] & KNOWN_FLAGS],
        trace_state=_NO_STATE,
    )
