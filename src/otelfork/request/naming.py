"""A second set of names for finished requests: what a server's instrumentor documents, beside the conventions' own.

One object of the process, consulted at the end of each exchange; none is there unless such an instrumentor is on. It maps what the
exchange has found out to other names, and measures nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Span

from otelfork.settings.http import HttpSettings


@dataclass(slots=True)
class Finished:
    """A request that has just ended."""

    span: Span
    context: Context
    method: str
    """A known method, or `_OTHER`."""
    path: str
    """As sent, without the query."""
    route: str | None
    status: int | None
    seconds: float
    start: int
    """In nanoseconds since the epoch, as `end`."""
    end: int
    ours: bool
    """Whether the span's name is of our making, and not the application's."""
    settings: HttpSettings


class Names(Protocol):
    """A mapping of requests to other names."""

    def finish(self, request: Finished) -> None:
        """Give a request's span and figures the other names too. The span is still open."""

    def recovered(self, name: str, attributes: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return name and attributes for the span of a request whose worker was killed."""


current: Names | None = None


def use(names: Names | None) -> None:
    """Set the names of this process, and of those it forks; None for the conventions' alone."""
    global current
    current = names
