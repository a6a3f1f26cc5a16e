"""The metrics of a server as a whole, on the run's own resource, beside what the reporting worker collects of itself.

No meter provider makes them: what they count was counted by all processes of the run, of which some are dead, and began when the
run did. So a change of the reporting worker is no reset: counts go on, from the same start, and what is of the moment starts anew.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otelfork import semconv
from otelfork.exporters.outlets import OutboxReader
from otelfork.run.names import BOUNDS
from otelfork.settings import Environment, Settings
from otelfork.version import __version__
from otelfork.workers import figures
from otelfork.workers.figures import Figure, Kind, Point
from otelfork.workers.life import SCOPE

if TYPE_CHECKING:
    from otelfork.run.scoreboard import Scoreboard

_SCHEMA = semconv.SCHEMA_URL
_OF_A_PROCESS = ("process.pid", "process.parent_pid", "worker.id")


def tell(
    readers: Sequence[OutboxReader],
    board: Scoreboard,
    resource: Callable[[], Resource],
    settings: Settings,
    foreign: Callable[[], Sequence[object]],
) -> None:
    """Have each exporter of metrics told of the server, too.

    Args:
        readers: one for each exporter.
        board: this process's scoreboard.
        resource: gives this process's resource.
        settings: whether the exporters are told differences, and whether anybody has chosen them.
        foreign: gives the user's own providers. Beside a meter provider of theirs the default exporter has nothing to say.
    """
    chosen = settings.exporters["metrics"] != ("console",) or Environment().is_set("OTEL_METRICS_EXPORTER")
    for reader in readers:
        metrics = ServerMetrics(board, resource, delta=settings.temporality == "delta")

        def beside(metrics: ServerMetrics = metrics) -> ResourceMetrics | None:
            told = chosen or not any(isinstance(each, MeterProvider) for each in foreign())
            return metrics() if told else None

        reader.beside = beside


@final
class ServerMetrics:
    """What one exporter is told of the server by this process.

    Args:
        board: this process's scoreboard.
        resource: gives this process's resource; the run's is the same without what names a process.
        delta: whether the exporter is told differences.
    """

    def __init__(self, board: Scoreboard, resource: Callable[[], Resource], *, delta: bool) -> None:
        self._board = board
        self._detected = resource
        self._began = time.time_ns()
        self._told: dict[str, int] | None = None
        self._told_at = board.created
        self._delta = delta

    def __call__(self) -> ResourceMetrics | None:
        """Return the server's metrics; None where another process tells them."""
        now = time.time_ns()
        numbers = self._board.tally.read()
        found = figures.of_server(self._board, self._new(numbers) if self._delta else numbers)
        if not found:
            return None
        since = self._told_at if self._delta else self._board.created
        metrics = [Metric(each.name, each.description, each.unit, self._data(each, since, now)) for each in found]
        if self._delta:
            self._told, self._told_at = numbers, now
            self._board.tally.tell(numbers)
        scope = InstrumentationScope(SCOPE, __version__, _SCHEMA)
        return ResourceMetrics(self._resource(), [ScopeMetrics(scope, metrics, _SCHEMA)], _SCHEMA)

    def _new(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Return what has not been told: by this process since it tells, before that by the one that told before it."""
        told = self._told if self._told is not None else self._board.tally.told()
        return {name: number - told.get(name, 0) for name, number in numbers.items()}

    def _data(self, figure: Figure, since: int, now: int) -> Sum | Gauge | Histogram:
        cumulative = AggregationTemporality.CUMULATIVE
        counted = AggregationTemporality.DELTA if self._delta else cumulative
        if figure.kind is Kind.SPREAD:
            return Histogram([_spread(point, since, now) for point in figure.points], counted)
        start = since if figure.kind is Kind.COUNT else self._began
        points = [NumberDataPoint(dict(point.attributes), start, now, point.value) for point in figure.points]
        if figure.kind is Kind.GAUGE:
            return Gauge(points)
        if figure.kind is Kind.COUNT:
            return Sum(points, counted, True)
        return Sum(points, cumulative, False)

    def _resource(self) -> Resource:
        own = self._detected()
        kept: dict[str, Any] = {name: value for name, value in own.attributes.items() if name not in _OF_A_PROCESS}
        run = str(uuid.uuid5(uuid.UUID(bytes=self._board.bits), "run"))
        # A user's own id stays as the prefix, as it does with each process's.
        kept[SERVICE_INSTANCE_ID] = str(kept.get(SERVICE_INSTANCE_ID, "")).replace(self._board.instance_id, run) or run
        return Resource(kept, own.schema_url)


def _spread(point: Point, since: int, now: int) -> HistogramDataPoint:
    unknown: Any = None  # the smallest and the largest value are not kept; the protocol need not be told them
    return HistogramDataPoint(
        attributes=dict(point.attributes),
        start_time_unix_nano=since,
        time_unix_nano=now,
        count=sum(point.buckets),
        sum=point.value,
        bucket_counts=list(point.buckets),
        explicit_bounds=list(BOUNDS),
        min=unknown,
        max=unknown,
    )
