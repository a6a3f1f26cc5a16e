"""The one statement that holds under every row: what was sent has arrived, once, from who did it.

It compares requests with received records and must not know servers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from tests.conformance.driving import Sent

from otelfork.receiver.records import ReceivedPoint, ReceivedSpan

DURATION = "http.server.request.duration"


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the requests. A true row has everything equal to `sent` and the rest 0.

    `doubled` counts every server span beyond the first of a request, and those of requests that nobody made.
    `strangers` counts server spans whose process.pid is not the pid that answered, `shared_ids` the pairs of
    processes that lived at one time under one service.instance.id.
    """

    sent: int
    received: int
    lost: int
    doubled: int
    histogram: int
    counted: int
    children: int
    strangers: int
    shared_ids: int
    workers: int

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


def expected(sent: Sequence[Sent]) -> dict[str, int]:
    """Return the figures of an account in which nothing is wrong."""
    number = len(sent)
    whole = dict.fromkeys(("sent", "received", "histogram", "counted", "children"), number)
    nothing = dict.fromkeys(("lost", "doubled", "strangers", "shared_ids"), 0)
    return {**whole, **nothing, "workers": len({request.pid for request in sent})}


def account(
    sent: Sequence[Sent],
    spans: Iterable[ReceivedSpan],
    points: Iterable[ReceivedPoint],
    *,
    work_span: str,
    work_counter: str,
) -> Account:
    """Match what was sent with what was received, by trace id and parent span id."""
    spans, points = list(spans), list(points)
    servers: dict[tuple[str, str], list[ReceivedSpan]] = defaultdict(list)
    for span in spans:
        if span.kind == "SERVER":
            servers[span.trace_id, span.parent_span_id].append(span)
    matches = [servers[request.trace_id, request.span_id] for request in sent]
    pairs = [(request, found[0]) for request, found in zip(sent, matches, strict=True) if found]
    return Account(
        sent=len(sent),
        received=len(pairs),
        lost=len(sent) - len(pairs),
        doubled=sum(map(len, servers.values())) - len(pairs),
        histogram=total(points, DURATION),
        counted=total(points, work_counter),
        children=_children(spans, pairs, work_span),
        strangers=sum(span.resource.get("process.pid") != request.pid for request, span in pairs),
        shared_ids=_shared_ids(pairs),
        workers=len({span.resource.get("process.pid") for _, span in pairs}),
    )


def _children(spans: Iterable[ReceivedSpan], pairs: Iterable[tuple[Sent, ReceivedSpan]], name: str) -> int:
    """Count the application's own spans that hang below the server span of their request."""
    parents = {(span.trace_id, span.span_id) for _, span in pairs}
    return sum(span.name == name and (span.trace_id, span.parent_span_id) in parents for span in spans)


def total(points: Iterable[ReceivedPoint], name: str) -> int:
    """Sum the last value of each cumulative series, and every value of a delta one.

    A series is told by who sent it (instance id) since when (start time), with which attributes.
    """
    series: dict[Hashable, list[ReceivedPoint]] = defaultdict(list)
    for point in points:
        if point.name == name:
            owner = point.resource.get("service.instance.id")
            series[owner, point.start_time, _frozen(point.attributes)].append(point)
    total = 0.0
    for members in series.values():
        values = [member.count or member.value for member in members]
        total += sum(values) if members[0].temporality == "DELTA" else max(values)
    return int(total)


def _frozen(attributes: Mapping[str, object]) -> Hashable:
    return tuple(sorted((name, str(value)) for name, value in attributes.items()))


def _shared_ids(pairs: Iterable[tuple[Sent, ReceivedSpan]]) -> int:
    """Count pairs of processes with one instance id whose lives, as far as their answers show them, overlap."""
    lives: dict[object, dict[int, tuple[float, float]]] = defaultdict(dict)
    for request, span in pairs:
        of_id = lives[span.resource.get("service.instance.id")]
        first, last = of_id.get(request.pid, (request.ended, request.ended))
        of_id[request.pid] = (min(first, request.ended), max(last, request.ended))
    overlaps = 0
    for of_id in lives.values():
        ordered = sorted(of_id.values())
        overlaps += sum(later[0] < earlier[1] for earlier, later in pairwise(ordered))
    return overlaps
