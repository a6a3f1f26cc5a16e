"""Figures of processes and of the host behind real servers: every worker its own, the host's from one of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import ROWS, Row
from tests.conformance.serving import Server, serve

from otelfork.receiver import HTTP, ReceivedPoint, Receiver

SERVERS = ("gunicorn sync --preload", "uvicorn --workers", "uwsgi default")
HOST, OWN = "system.cpu.time", "process.memory.usage"
ON = {"OTELFORK_SYSTEM_METRICS": "true", "OTELFORK_SYSTEM_ATTRIBUTES": "true", "OTEL_METRIC_EXPORT_INTERVAL": "300"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != SERVERS[0])) for name in SERVERS]
)
def test_workers_report_themselves_and_one_of_them_the_host(name: str, receiver: Receiver, tmp_path: Path):
    """While all of them live; each request's span has the figures of its moment."""
    row = named(name)
    with serve(row, {**receiver.environment(HTTP), **ON}, tmp_path, 60) as server:
        server.wait_until_ready()
        sent = drive(server, 60)
        workers = {one.pid for one in sent}
        assert receiver.wait_for(
            lambda received: {point.resource["process.pid"] for point in received.points} >= workers, 20
        )
        receiver.clear()
        assert receiver.wait_for(
            lambda received: (
                {point.resource["process.pid"] for point in received.points if point.name == "process.memory.usage"}
                >= workers
            ),
            20,
        )
        points = receiver.points
        spans = [span for span in receiver.spans if span.kind == "SERVER"]
        drive(server, 3)
        if row.stop_idle:
            server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    host = {point.resource["process.pid"] for point in points if point.name == "system.cpu.time"}
    own = {point.resource["process.pid"] for point in points if point.name == "process.memory.usage"}
    spans += [span for span in receiver.spans if span.kind == "SERVER"]
    bare = [span for span in spans if "system.memory.usage" not in span.attributes]
    assert (1, workers, []) == (len(host), own, bare), server.output[-3000:]


def named(name: str) -> Row:
    (row,) = (row for row in ROWS if row.name == name)
    return row


def pids(points: Iterable[ReceivedPoint], name: str) -> set[object]:
    """Return who reported a metric."""
    return {point.resource["process.pid"] for point in points if point.name == name}


def moments(points: Iterable[ReceivedPoint], name: str, pid: object) -> list[int]:
    """Return when a process collected a metric, in nanoseconds since the epoch."""
    return sorted({point.time for point in points if (point.name, point.resource["process.pid"]) == (name, pid)})


def start(server: Server, receiver: Receiver) -> set[object]:
    """Make every worker report; return their pids."""
    server.wait_until_ready()
    workers: set[object] = {one.pid for one in drive(server, 60)}
    assert receiver.wait_for(lambda received: pids(received.points, OWN) >= workers, 20)
    return workers


def reporter(receiver: Receiver) -> object:
    """Return who reports the host from now on; there is one."""
    receiver.clear()
    assert receiver.wait_for(lambda received: pids(received.points, HOST), 20)
    (found,) = pids(receiver.points, HOST)
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [SERVERS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SERVERS[1:])])
def test_a_survivor_reports_the_host_when_its_reporter_is_killed(name: str, receiver: Receiver, tmp_path: Path):
    """With its next collection but one at the latest, and it alone."""
    with serve(named(name), {**receiver.environment(HTTP), **ON}, tmp_path, 60) as server:
        workers = start(server, receiver)
        killed = reporter(receiver)
        at = time.time_ns()
        psutil.Process(int(str(killed))).kill()
        assert receiver.wait_for(lambda received: pids(received.points, HOST) - {killed}, 20), server.output[-3000:]
        (heir,) = pids(receiver.points, HOST) - {killed}
        taken = moments(receiver.points, HOST, heir)[0]
        without = [moment for moment in moments(receiver.points, OWN, heir) if at < moment < taken]
        later = reporter(receiver)
        server.stop()
    assert (True, True) == (heir in workers - {killed}, len(without) <= 1), server.output[-3000:]
    assert later != killed


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_while_workers_are_recycled_the_host_is_reported_by_one_at_a_time(receiver: Receiver, tmp_path: Path):
    """Whoever does when, no two collections of one interval have it."""
    row = named("gunicorn sync --preload --max-requests 40")
    with serve(row, {**receiver.environment(HTTP), **ON}, tmp_path, 60) as server:
        start(server, receiver)
        for _ in range(6):
            drive(server, 40)
        server.stop()
    receiver.wait_until_quiet()
    seen = sorted({(point.time, point.resource["process.pid"]) for point in receiver.points if point.name == HOST})
    # A worker that leaves reports once more, and its successor or a sibling may have begun by then.
    last = {pid: max(moments(receiver.points, OWN, pid)) for _, pid in seen}
    kept = [(moment, pid) for moment, pid in seen if moment != last[pid]]
    both = [
        (one, other) for one in kept for other in kept if one[1] != other[1] and abs(one[0] - other[0]) < 50_000_000
    ]
    assert (True, []) == (len({pid for _, pid in seen}) > 1, both), server.output[-3000:]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [SERVERS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SERVERS[1:])])
def test_a_worker_reports_the_processor_time_that_it_has_used_itself(name: str, receiver: Receiver, tmp_path: Path):
    """Between what the kernel says before and after: neither its master's nor a sibling's."""
    with serve(named(name), {**receiver.environment(HTTP), **ON}, tmp_path, 60) as server:
        workers = start(server, receiver)
        before = {pid: used(pid) for pid in workers}
        receiver.clear()
        assert receiver.wait_for(lambda received: pids(received.points, "process.cpu.time") >= workers, 20)
        points = [point for point in receiver.points if point.name == "process.cpu.time"]
        after = {pid: used(pid) for pid in workers}
        if named(name).stop_idle:
            server.wait_until_idle()
        server.stop()
    for pid in workers:
        first = moments(points, "process.cpu.time", pid)[0]
        mine = [point for point in points if point.resource["process.pid"] == pid and point.time == first]
        told = sum({str(point.attributes): point.value for point in mine}.values())
        assert before[pid] - 0.02 <= told <= after[pid] + 0.02


def used(pid: object) -> float:
    times = psutil.Process(int(str(pid))).cpu_times()
    return float(times.user + times.system)
