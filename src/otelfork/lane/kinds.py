"""What the lane asks of those who describe requests (see `otelfork.request.kinds`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from opentelemetry import trace

from otelfork.encoding.encoder import Encoder

PackedEnding: TypeAlias = "tuple[bytes, bytes, bytes, bytes]"
"""Fields that spans with one ending have in common: (name, kind and the tag of the start time; attributes; status and flags where
the parent is remote; the same where it is not)."""


class Kind(Protocol):
    """What a request span has in common with others, and how its own attributes are made of what it keeps of its request."""

    name: str

    def attributes(self, sketch: Any) -> dict[str, Any]:
        """Return the attributes that are known when a request begins; at most `lane.MOST_OWN` less those of an ending."""

    def pack(self, span: Any, encoder: Encoder) -> bytes:
        """Return the fields of these attributes, in the same order, of a span (`lane.RequestSpan`) with what was sent."""


class Ending(Protocol):
    """What is known of a request when it has ended, shared by many of them."""

    name: str
    attributes: Mapping[str, Any]
    status: trace.Status | None
    marks: tuple[str, str] | None
    """Events without attributes at the start and at the end of the span."""
    packed: PackedEnding | None
    """For `lane.packing`."""
