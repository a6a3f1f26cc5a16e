"""What a request span has from the moment on that somebody touches it, and how its parent is packed.

Private names of the SDK: see `otelfork.lane`.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import SpanContext

from otelfork.encoding import wire
from otelfork.encoding.encoder import Encoder


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
