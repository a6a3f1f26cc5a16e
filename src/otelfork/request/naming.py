"""A second set of names for requests: what a server's instrumentor documents, beside the conventions' own.

One object of the process; none is there unless such an instrumentor is on. What many requests have in common asks it once (see
`kinds`): it maps what is known anyway to other names, and measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from opentelemetry.context import Context

from otelfork.lane.noting import Entry
from otelfork.request.instruments import Folding

Measure: TypeAlias = "Callable[[str, Entry, Context], object]"
"""Takes path, figures and context of a request that has ended."""


class Names(Protocol):
    """A mapping of requests to other names."""

    name: str | None
    """Of every request's span; None where the conventions' names stay."""
    marks: tuple[str, str]
    """The events at the start and at the end of every request's span."""

    def named(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return a span's attributes, or a part of them, with the other names of these added at the end."""

    def measure(
        self, folding: Folding | None, method: str, route: str | None, status: int | None, limit: int
    ) -> Measure:
        """Return what takes the figures of requests that ended alike.

        Args:
            folding: takes figures in place of instruments; None where there is none.
            method: a known one, or `_OTHER`.
            route: the template that the framework chose.
            status: the response's.
            limit: attribute sets per instrument, the overflow set included.
        """

    def recovered(self, name: str, attributes: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return name and attributes for the span of a request whose worker was killed."""


current: Names | None = None


def use(names: Names | None) -> None:
    """Set the names of this process, and of those it forks; None for the conventions' alone."""
    global current
    current = names
