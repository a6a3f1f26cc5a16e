"""A span processor of ours that goes along with local root spans, and costs a request span little.

A processor in general is called with the SDK's span, which is made for that. A companion tells the lane beforehand what it would
set, and the lane goes on alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from otelfork.lane.span import NOTHING_SHARED, Shared

MOST_ADDED = 16
"""The most attributes that all companions together may add to a span."""


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


def parting(companions: Sequence[Companion], put: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return what takes an ended request span: `put`, after the companions that want to know."""
    leaving = [companion.leave for companion in companions if companion.leave is not None]
    if not leaving:
        return put

    def part(span: Any) -> None:
        for leave in leaving:
            leave(span._span_id)  # noqa: SLF001 - a span of the lane's own
        put(span)

    return part
