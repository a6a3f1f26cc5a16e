"""Matches what was sent with what was received, and keeps the result.

It must not know processes, clients or terminals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from otelfork.cli.load import Sent
from otelfork.receiver import Attributes, ReceivedPoint, ReceivedSpan

DURATION = "http.server.request.duration"
"""The histogram whose count has to be the number of requests (OpenTelemetry HTTP metrics conventions)."""

RECOVERED = "otelfork.recovered"
"""Marks the span of a request whose worker was killed: a survivor has sent it."""
_Key = tuple[str, str]
_WorkerKey = tuple[int | None, str]


@dataclass(frozen=True, slots=True)
class Worker:
    """One process that sent telemetry, known by its pid and its instance id.

    `pid` is `process.pid` (None: not sent), `instance_id` `service.instance.id` ("": not sent), `spans` its
    server spans of our requests, repeats included, `histogram_count` its part of the duration histogram.
    `started` and `ended` are the earliest and the latest nanosecond since the epoch that its telemetry speaks
    of: it lived at least that long.
    """

    pid: int | None
    instance_id: str
    spans: int
    histogram_count: int
    started: int
    ended: int


@dataclass(frozen=True, slots=True)
class Match:
    """What became of the requests in the telemetry.

    `received` counts requests with a server span, `recovered` those of them that a survivor of the worker sent, `missing` are
    the answered requests without one, `unseen` the ids of unanswered ones.
    `duplicated` counts the surplus: server spans beyond one for a request, a span id delivered again, and a
    server span directly below another of the same process and path (a framework that traces itself too). A recovered span
    that was sent twice is the same span: it is among the repeats only.
    `repeated_span_ids` are the ids delivered more than once. `other_server_spans` are not of our requests:
    calls of the server to itself, health checks. `histogram_count` is what a backend would add up;
    `histogram_expected` has one for every request that was answered or has a span and for each other server
    span.
    """

    received: int
    recovered: int
    missing: tuple[Sent, ...]
    unseen: tuple[Sent, ...]
    duplicated: int
    repeated_span_ids: tuple[str, ...]
    other_server_spans: int
    histogram_count: int
    histogram_expected: int
    workers: tuple[Worker, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """The result of one verification; the counts are explained at `Match`, the server's end at `Stopped`.

    `sent` counts the requests, `answered` those with a whole answer of whatever status, `failed` are the
    others: a failed request may or may not have a span. `lost` is the number of answered requests without
    one. `quiet` tells whether the telemetry had stopped arriving when it was counted. `killed_worker` is the pid of
    the worker that was killed on purpose, `excused` how many of the lost requests it may have answered within its last export
    interval of `interval` seconds. `hung` is the request that was to hang. `listening` is whether telemetry could arrive.
    """

    sent: int
    answered: int
    failed: tuple[Sent, ...]
    received: int
    lost: int
    missing: tuple[Sent, ...]
    duplicated: int
    repeated_span_ids: tuple[str, ...]
    other_server_spans: int
    histogram_count: int
    histogram_expected: int
    workers: tuple[Worker, ...]
    stop_seconds: float
    exit_status: int
    died: bool
    killed: bool
    left_running: tuple[int, ...]
    server_output: str
    quiet: bool
    recovered: int = 0
    unseen: tuple[Sent, ...] = ()
    killed_worker: int | None = None
    excused: int = 0
    interval: float = 0.0
    hung: Sent | None = None
    listening: bool = True

    @property
    def ok(self) -> bool:
        """Whether requests were answered and nothing is lost or doubled, in spans or in the histogram.

        A killed worker may lose what it finished in its last export interval, and its counts since the last export; the request
        that hung has to have a span. Where no telemetry can arrive the server has to answer everything and to stop by itself.
        """
        if not self.listening:
            return self.answered == self.sent and not self.died and not self.killed
        count, expected = self.histogram_count, self.histogram_expected
        return (
            self.answered > 0
            and self.lost <= self.excused
            and self.duplicated == 0
            and (count == expected or (self.killed_worker is not None and count < expected))
            and (self.hung is None or self.hung not in self.unseen)
        )

    @property
    def shared_instance_ids(self) -> tuple[str, ...]:
        """The instance ids that two processes had at the same time; one after the other may share (a slot)."""
        return tuple(
            dict.fromkeys(
                one.instance_id
                for one in self.workers
                for other in self.workers
                if one.instance_id == other.instance_id
                and one.pid != other.pid
                and one.started < other.ended
                and other.started < one.ended
            )
        )

    @property
    def summary(self) -> str:
        """The one line for machines."""
        recovered = f" recovered {self.recovered}" if self.killed_worker or self.hung or self.recovered else ""
        return f"sent {self.sent} received {self.received}{recovered} lost {self.lost} duplicated {self.duplicated}"


def match(sent: Sequence[Sent], spans: Sequence[ReceivedSpan], points: Iterable[ReceivedPoint]) -> Match:
    """Match requests with server spans by trace id and parent span id, and count the duration histogram."""
    requests = {(one.trace_id, one.parent_span_id): one for one in sent}
    servers = [span for span in spans if span.kind == "SERVER"]
    ours = [span for span in servers if (span.trace_id, span.parent_span_id) in requests]
    received = {(span.trace_id, span.parent_span_id) for span in ours}
    others = {_id(span): span for span in servers if (span.trace_id, span.parent_span_id) not in requests}
    nested = _nested(others.values(), {_id(span): span for span in servers})
    recovered_ids = {_id(span) for span in ours if span.attributes.get(RECOVERED)}
    recovered = {(span.trace_id, span.parent_span_id) for span in ours if _id(span) in recovered_ids}
    deliveries = Counter(map(_id, spans))
    again = sum(deliveries[key] - 1 for key in recovered_ids)
    repeats_of_ours = {_id(span) for span in ours}
    repeated = sum(count - 1 for key, count in deliveries.items() if key not in repeats_of_ours)
    answered = {key for key, one in requests.items() if one.answered}
    durations = [point for point in points if point.name == DURATION]
    counts = histogram_counts(durations)
    return Match(
        received=len(received),
        recovered=len(recovered),
        missing=tuple(requests[key] for key in requests if key in answered - received),
        unseen=tuple(requests[key] for key in requests if key not in answered | received),
        duplicated=len(ours) - len(received) - again + nested + repeated,
        repeated_span_ids=tuple(span_id for (_, span_id), count in deliveries.items() if count > 1),
        other_server_spans=len(others),
        histogram_count=sum(counts.values()),
        histogram_expected=len((answered | received) - recovered) + len(others) - nested,
        workers=_workers(ours, durations, counts),
    )


def histogram_counts(points: Iterable[ReceivedPoint]) -> Mapping[_WorkerKey, int]:
    """Return the count of a histogram by (pid, instance id), as a backend adds it up.

    A cumulative stream counts with its last point, a delta stream with the sum of its points. A stream is
    known by instance id, start time, scope and attributes; not by pid, so that two processes with one
    identity overwrite each other here as they do there (OpenTelemetry metrics data model, section Single-
    Writer).
    """
    counts: Counter[_WorkerKey] = Counter()
    last: dict[object, ReceivedPoint] = {}
    for point in points:
        worker = _worker_key(point.resource)
        if point.temporality == "DELTA":
            counts[worker] += point.count
            continue
        stream = (worker[1], point.start_time, point.scope.name, _frozen(point.attributes))
        if stream not in last or last[stream].time <= point.time:
            last[stream] = point
    for point in last.values():
        counts[_worker_key(point.resource)] += point.count
    return counts


def _nested(others: Iterable[ReceivedSpan], servers: Mapping[_Key, ReceivedSpan]) -> int:
    """Count the server spans that tell the same request as the server span right above them."""
    count = 0
    for span in others:
        above = servers.get((span.trace_id, span.parent_span_id))
        count += above is not None and _place(span) == _place(above)
    return count


def _place(span: ReceivedSpan) -> tuple[object, object]:
    path = span.attributes.get("url.path", span.attributes.get("http.target"))
    return span.resource.get("process.pid"), path


def _workers(
    spans: Iterable[ReceivedSpan], points: Iterable[ReceivedPoint], counts: Mapping[_WorkerKey, int]
) -> tuple[Worker, ...]:
    span_counts: Counter[_WorkerKey] = Counter()
    lives: dict[_WorkerKey, tuple[int, int]] = {}

    def lived(key: _WorkerKey, start: int, end: int) -> None:
        known_start, known_end = lives.get(key, (start, end))
        lives[key] = min(known_start, start), max(known_end, end)

    for span in spans:
        key = _worker_key(span.resource)
        span_counts[key] += 1
        lived(key, span.start_time, span.end_time)
    for point in points:
        lived(_worker_key(point.resource), point.start_time, point.time)
    return tuple(
        Worker(*key, spans=span_counts[key], histogram_count=counts.get(key, 0), started=start, ended=end)
        for key, (start, end) in sorted(lives.items(), key=lambda item: item[1])
    )


def _worker_key(resource: Attributes) -> _WorkerKey:
    pid = resource.get("process.pid")
    return pid if isinstance(pid, int) else None, str(resource.get("service.instance.id", ""))


def _id(span: ReceivedSpan) -> _Key:
    return span.trace_id, span.span_id


def _frozen(attributes: Attributes) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in attributes.items())
