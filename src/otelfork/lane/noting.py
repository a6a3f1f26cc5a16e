"""Where the figures of requests are noted, without a lock on the request path, until they are folded (see `folding`)."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, final

Entry: TypeAlias = "tuple[float, int | None, int | None, int, bytes, bytes, int]"
"""(seconds, bytes received, bytes sent, time of the end, trace id, span id, flags); None is not measured."""

WAKE_AT = 1024
"""Entries of one attribute set that wake the exporter thread. A power of two."""
_MASK = WAKE_AT - 1
MOST = 16 * WAKE_AT
"""Entries of one attribute set that are not waited with, whatever the exporter thread does."""


@final
class Batch:
    """What was noted of requests with one attribute set since the last fold."""

    __slots__ = ("add", "attributes", "entries")

    def __init__(self, attributes: Mapping[str, Any], hurry: Callable[[int], None]) -> None:
        self.attributes = dict(attributes)
        self.entries: deque[Entry] = deque()
        self.add = _adding(self.entries, hurry)
        """Note a request. Takes no lock."""

    def taken(self) -> list[Entry]:
        """Take out what was noted. For one thread at a time."""
        entries = self.entries
        return [entries.popleft() for _ in range(len(entries))]


def _adding(entries: deque[Entry], hurry: Callable[[int], None]) -> Callable[[Entry], None]:
    append = entries.append

    def add(entry: Entry) -> None:
        append(entry)
        if not len(entries) & _MASK:
            hurry(len(entries))

    return add


@final
class Active:
    """How many requests of one attribute set are running: counted without a lock, by `next(begun)` and `next(ended)`."""

    __slots__ = ("attributes", "begun", "ended")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        self.begun, self.ended = itertools.count(), itertools.count()

    def running(self) -> int:
        """Return the number. For one thread at a time (a consumer's lock): reading is one more step of both counts."""
        # The ended first: of a request that begins and ends in between neither or only the begin is seen.
        ended = next(self.ended)
        return next(self.begun) - ended
