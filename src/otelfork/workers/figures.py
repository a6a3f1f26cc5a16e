"""The figures of a server as a whole, read from the run's scoreboard by the one worker that reports them.

What has been counted lives in the run's file, so it goes on whoever reports it. It knows nothing of how metrics are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from otelfork.run import names as counted
from otelfork.workers import life, names
from otelfork.workers.backlog import backlogs

NETWORK_ADDRESS, NETWORK_PORT = "network.local.address", "network.local.port"


class Kind(Enum):
    """What may be done with a figure's points."""

    COUNT = 1
    """Only ever grows, since the run began."""
    LEVEL = 2
    """Of this moment; the points add up."""
    GAUGE = 3
    """Of this moment; a sum over the points means nothing."""
    SPREAD = 4
    """How often a value fell between which bounds, since the run began."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value."""

    attributes: Mapping[str, str | int]
    value: int | float
    """Of a spread, the sum of all values."""
    buckets: tuple[int, ...] = ()
    """Of a spread: one more than there are bounds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of a server."""

    name: str
    kind: Kind
    unit: str
    description: str
    points: Sequence[Point]


class Tally(Protocol):
    """What a run has counted (see `run.tally.Tally`)."""

    def read(self) -> dict[str, int]:
        """Return the numbers by name."""


class Board(Protocol):
    """What the figures are read from (see `run.scoreboard.Scoreboard`)."""

    tally: Any

    def census(self) -> Any:
        """Count the living workers (see `run.census.Census`)."""


def of_server(board: Board, numbers: Mapping[str, int]) -> Sequence[Figure]:
    """Return the server's figures; none if this process is no worker, or not the one that reports.

    Args:
        board: this process's scoreboard.
        numbers: what to tell of the run's tally: all of it, or what is new.
    """
    worker = life.current()
    if worker is None:
        return ()
    census = board.census()
    if not census.first:
        return ()
    found: list[tuple[str, Kind, str, str, list[Point]]] = [
        ("workers", Kind.LEVEL, "{worker}", "Workers that live, by whether they have a request.", [
            Point({names.STATE: "busy"}, census.busy), Point({names.STATE: "idle"}, census.idle),
        ]),
        ("requests.active", Kind.LEVEL, "{request}", "Requests that the workers are busy with.", [Point({}, census.requests)]),
        ("listen.backlog", Kind.GAUGE, "{connection}", "Connections that wait to be accepted.", _backlog()),
        ("worker.starts", Kind.COUNT, "{worker}", "Workers that began.", [Point({}, numbers.get(counted.STARTS, 0))]),
        ("worker.exits", Kind.COUNT, "{worker}", "Workers that ended, by how.", _exits(numbers)),
        ("worker.boot.duration", Kind.SPREAD, "s", "Time from a worker's start until it was ready.", _boots(numbers)),
    ]  # fmt: skip
    return [
        Figure(f"{worker.server}.{name}", kind, unit, description, points)
        for name, kind, unit, description, points in found
        if points
    ]


def _backlog() -> list[Point]:
    return [
        Point({NETWORK_ADDRESS: address, NETWORK_PORT: port}, waiting)
        for (address, port), waiting in backlogs().items()
    ]


def _exits(numbers: Mapping[str, int]) -> list[Point]:
    prefix = counted.EXITS
    return [
        Point({names.REASON: name.removeprefix(prefix)}, number)
        for name, number in numbers.items()
        if name.startswith(prefix)
    ]


def _boots(numbers: Mapping[str, int]) -> list[Point]:
    buckets = tuple(numbers.get(f"{counted.BOOTS}{place}", 0) for place in range(len(counted.BOUNDS) + 1))
    return [Point({}, numbers.get(counted.BOOT_NANOSECONDS, 0) / 1e9, buckets)] if any(buckets) else []
