"""A span processor of ours that goes along with local root spans, and costs a request span little.

A processor in general is called with the SDK's span, which is made for that. A companion tells the lane beforehand what it would
set, and the lane goes on alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from otelfork.encoding.encoder import Encoder
from otelfork.lane.kinds import Kind

MOST_ADDED = 16
"""The most attributes that all companions together may add to a span."""


@final
class Shared:
    """Attributes of our own making that many spans have in common, packed once. Their number is for the caller to bound."""

    __slots__ = ("attributes", "packed")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        self.packed: bytes | None = None

    def pack(self, encoder: Encoder) -> bytes:
        """Return the fields of the attributes."""
        packed = self.packed
        if packed is None:
            packed = self.packed = encoder.joined(self.attributes)
        return packed


NOTHING_SHARED = Shared({})


class Companion(SpanProcessor, ABC):
    """Adds attributes to the local root spans of one process generation. For other spans it is a processor like any other."""

    def start(self) -> None:
        """Begin to work: called once, when everybody already finds the generation. Threads are started here."""

    @abstractmethod
    def accompany(self, name: str, trace_id: int, span_id: int, own: dict[str, Any], shared: Shared) -> Shared:
        """Go along with a local root span that begins on this thread.

        Args:
            name: its name.
            trace_id: its trace id.
            span_id: its id.
            own: its attributes; more may be added.
            shared: attributes that it has in common with others.

        Returns:
            What takes the place of `shared`.
        """

    leave: Callable[[int], object] | None = None
    """Called with the id of a span of the lane's that ends, where there is anything to do then."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do the same for a span of the SDK's."""
        parent = span.parent
        if parent is None or parent.is_remote:
            own: dict[str, Any] = {}
            context = span.get_span_context()
            shared = self.accompany(span.name, context.trace_id, context.span_id, own, NOTHING_SHARED)
            span.set_attributes({**shared.attributes, **own})


@final
class Accompanied:
    """A kind of requests with what companions add; its sketch is that of the kind, and what they have added."""

    __slots__ = ("_kind", "name")

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.name = kind.name

    def attributes(self, sketch: tuple[Any, dict[str, Any], Shared]) -> dict[str, Any]:
        """See `Kind.attributes`."""
        own, added, shared = sketch
        return {**shared.attributes, **self._kind.attributes(own), **added}

    def pack(self, sketch: tuple[Any, dict[str, Any], Shared], encoder: Encoder) -> bytes:
        """See `Kind.pack`."""
        own, added, shared = sketch
        return shared.pack(encoder) + self._kind.pack(own, encoder) + encoder.joined(added)


def accompanied(companions: Sequence[Companion], kind: Kind, sketch: Any, ids: bytes) -> tuple[Kind, Any]:
    """Ask the companions of a local root span what they add; return what takes the place of its kind and sketch.

    Args:
        companions: there is one at least.
        kind: of the request.
        sketch: likewise.
        ids: the trace id and the span's.
    """
    trace_id, span_id = int.from_bytes(ids[:16], "big"), int.from_bytes(ids[16:], "big")
    added: dict[str, Any] = {}
    shared = NOTHING_SHARED
    for companion in companions:
        shared = companion.accompany(kind.name, trace_id, span_id, added, shared)
    return Accompanied(kind), (sketch, added, shared)


def parting(companions: Sequence[Companion], put: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return what takes an ended request span: `put`, after the companions that want to know."""
    leaving = [companion.leave for companion in companions if companion.leave is not None]
    if not leaving:
        return put

    def part(span: Any) -> None:
        for leave in leaving:
            leave(int.from_bytes(span.id_bytes, "big"))
        put(span)

    return part
