"""Where the figures of requests are noted, without a lock on the request path, until they are folded (see `folding`)."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final


class Entry(Protocol):
    """The figures of a request that has ended: its span, which is there anyway, or `Figures`.

    Nearly always the span: what a request leaves behind is then one object, and the garbage collector, which comes after so
    many new ones, hardly ever comes at all. A span may hold much. So it is noted only where entries are folded about as often as
    spans are sent, and folded sooner where the queue drops spans (see `delivery.streams.Stream.relieve`).
    """

    seconds: float
    received: int | None
    """Bytes of the request's body; None where they are not measured, as of the next."""
    sent: int | None
    finished: int
    """Nanoseconds since the epoch."""
    trace_bytes: bytes
    id_bytes: bytes
    flags: int


@final
@dataclass(slots=True, eq=False)
class Figures:
    """The figures of a request alone, where its span is another's, or has become more than its figures (see `Entry`)."""

    seconds: float
    received: int | None
    sent: int | None
    finished: int
    trace_bytes: bytes
    id_bytes: bytes
    flags: int


OFTEN = 1024
"""Requests after which whoever ends one looks after what was noted (see `Folding.hurry`). A power of two."""
MOST = 4 * OFTEN
"""Entries that are not waited with, whatever the exporter thread does: folding them takes 1 ms."""


def apart(span: Entry) -> Figures:
    """Return the figures of a span by themselves."""
    if type(span) is Figures:
        return span
    return Figures(span.seconds, span.received, span.sent, span.finished, span.trace_bytes, span.id_bytes, span.flags)


@final
class Batch:
    """What was noted of requests with one attribute set since the last fold."""

    __slots__ = ("add", "attributes", "entries")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        self.entries: deque[Entry] = deque()
        self.add: Callable[[Entry], object] = self.entries.append
        """Note a request. Takes no lock."""

    def taken(self) -> list[Entry]:
        """Take out what was noted. For one thread at a time."""
        entries = self.entries
        return [entries.popleft() for _ in range(len(entries))]


@final
class Active:
    """How many requests of one attribute set are running: counted without a lock, by `next(begun)` and `next(ended)`."""

    __slots__ = ("attributes", "begun", "ended")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        # From 1: the first request of all has nothing to look after.
        self.begun, self.ended = itertools.count(1), itertools.count(1)

    def running(self) -> int:
        """Return the number. For one thread at a time (a consumer's lock): reading is one more step of both counts."""
        # The ended first: of a request that begins and ends in between neither or only the begin is seen.
        ended = next(self.ended)
        return next(self.begun) - ended
