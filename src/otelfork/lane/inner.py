"""What a request span has from the moment on that somebody touches it, and how its parent and its end are packed.

Private names of the SDK: see `otelfork.lane`.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, final

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import SpanContext, SpanKind

from otelfork.encoding import wire
from otelfork.encoding.encoder import Encoder
from otelfork.lane.kinds import Ending

SERVER = wire.SPAN_KIND + wire.varint(SpanKind.SERVER.value + 1)
_NO_STATUS = trace.Status()


@final
class Inner:
    """What a span needs from the moment on that somebody touches it."""

    __slots__ = ("attributes", "events", "links", "lock")

    def __init__(self) -> None:
        # By this name: what gevent puts there later lets other greenlets run.
        self.lock = threading.Lock()
        self.attributes: BoundedAttributes | None = None
        self.events: Any = None
        self.links: Any = None

    def ended(self, attributes: Mapping[str, Any]) -> None:
        """Add the attributes of the end, where another thread has made the others in that very moment and did not know these."""
        with self.lock:
            if self.attributes is not None:
                self.attributes._dict.update(attributes)
                self.attributes._immutable = True


def packed_parent(parent: SpanContext, encoder: Encoder) -> tuple[bytes, bytes]:
    """Return the fields of the trace state, which is the span's too, and of the flags."""
    state = parent.trace_state
    return (
        encoder.trace_state(state) if state else b"",
        wire.SPAN_REMOTE if parent.is_remote else wire.SPAN_LOCAL,
    )


def packed_ending(ending: Ending, encoder: Encoder) -> tuple[bytes, bytes, bytes, bytes]:
    """Pack what many spans end with, and keep the bytes in `packed` (see `Ending.packed`)."""
    status = ending.status or _NO_STATUS
    told = encoder.status(status.status_code, status.description)
    packed = ending.packed = (
        encoder.name(ending.name) + SERVER + wire.SPAN_START_TIME,
        encoder.joined(ending.attributes),
        told + wire.SPAN_REMOTE,
        told + wire.SPAN_LOCAL,
    )
    return packed
