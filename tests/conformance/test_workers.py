"""The life of workers on real servers: each is one span with how it ended, and the server's figures are exact."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from tests.conformance.driving import drive
from tests.conformance.leaving import Held, ask
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import Server, serve

from otelfork.receiver import HTTP, Receiver
from otelfork.receiver.records import ReceivedPoint, ReceivedSpan

GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--preload")
UWSGI = ("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--enable-threads", "--die-on-term", "--need-app")
PREFORK = Row("gunicorn --preload", (*GUNICORN, "--workers", "2", "--timeout", "2", "leaving_wsgi:app"), PROGRAMS)
HARAKIRI = Row(
    "uwsgi --harakiri", (*UWSGI, "--processes", "2", "--harakiri", "2", "--module", "leaving_wsgi:app"), PROGRAMS
)
UVICORN = Row(
    "uvicorn --workers",
    ("{python}", "-m", "uvicorn", "--port", "{port}", "--workers", "2", "leaving_asgi:app"),
    PROGRAMS,
)
RECYCLING = Row(
    "gunicorn --max-requests", (*GUNICORN, "--workers", "2", "--max-requests", "10", "wsgi_app:app"), PROGRAMS
)
LAZY = Row("uwsgi --lazy-apps", (*UWSGI, "--processes", "2", "--lazy-apps", "--module", "leaving_wsgi:app"), PROGRAMS)
CELERY = Row(
    "celery prefork",
    ("{python}", "{programs}/celery_prefork.py", "25", "--max-tasks-per-child", "5"),
    PROGRAMS,
    driver="program",
)
# Metrics leave with the last flush of each worker: a worker that exports all the time is never seen idle.
WANTED = {"OTELFORK_WORKERS": "true", "OTEL_GUNICORN_TRACE_WORKERS": "true", "OTEL_BSP_SCHEDULE_DELAY": "200"}
SECONDS = 20.0

pytestmark = pytest.mark.timeout(120)


def workers(receiver: Receiver) -> list[ReceivedSpan]:
    """Return the spans of workers."""
    return [span for span in receiver.spans if span.name.endswith(".worker")]


def ends(receiver: Receiver) -> Counter[object]:
    """Return how many workers' spans there are by how they ended."""
    return Counter(span.attributes["worker.exit.reason"] for span in workers(receiver))


def of_server(receiver: Receiver, name: str) -> list[ReceivedPoint]:
    """Return the points of a server's metric."""
    return [point for point in receiver.points if point.name.endswith(name) and "process.pid" not in point.resource]


def counted(receiver: Receiver, name: str = ".worker.exits") -> dict[object, float]:
    """Return the last value of each of a metric's points, by how workers ended."""
    points = sorted(of_server(receiver, name), key=lambda point: point.time)
    return {point.attributes.get("worker.exit.reason"): point.value for point in points}


def kill_one(server: Server, receiver: Receiver) -> int:
    """Kill a worker that answers requests; return its pid when a survivor has told of it."""
    pid = ask(server.port, "/items/7").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert receiver.wait_for(
        lambda found: any(each.attributes["worker.pid"] == pid for each in workers(found)), SECONDS
    )
    return pid


@pytest.mark.parametrize(
    ("row", "kill"),
    [(PREFORK, "SIGKILL"), pytest.param(HARAKIRI, "unknown", marks=pytest.mark.slow)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_worker_is_a_span_with_how_it_ended(row: Row, kill: str, receiver: Receiver, tmp_path: Path):
    """One that timed out, one that was killed, their two successors that were stopped: each once, and counted once."""
    begun = tmp_path / "begun"
    with serve(row, {**receiver.environment(HTTP), **WANTED, "BEGUN": str(begun)}, tmp_path, 0) as server:
        server.wait_until_ready()
        held = Held(server.port, "/hold", begun)
        held.result()
        assert receiver.wait_for(lambda found: ends(found)["timeout"] == 1, SECONDS), server.output[-3000:]
        killed = kill_one(server, receiver)
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    by_pid = {span.attributes["worker.pid"]: span for span in workers(receiver)}
    assert len(by_pid) == len(workers(receiver))
    assert {("worker.start", "worker.shutdown")} == {
        tuple(event.name for event in span.events if event.name.startswith("worker.")) for span in by_pid.values()
    }
    told = by_pid[held.pid], by_pid[killed]
    expected = {"timeout": 1, kill: 1, "stopped": 2}
    assert ([("timeout", "ERROR"), (kill, "ERROR")], expected, expected, 4) == (
        [(span.attributes["error.type"], span.status) for span in told],
        dict(ends(receiver)),
        counted(receiver),
        counted(receiver, ".worker.starts")[None],
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", [UVICORN, LAZY], ids=lambda row: row.name)
def test_a_worker_that_begins_by_itself_is_a_span_too(row: Row, receiver: Receiver, tmp_path: Path):
    """No code of ours runs in the master: what was killed is told as unknown, what ended cleanly is told by itself."""
    with serve(row, {**receiver.environment(HTTP), **WANTED, "BEGUN": str(tmp_path / "begun")}, tmp_path, 0) as server:
        server.wait_until_ready()
        for _ in range(20):
            ask(server.port, "/items/7")
        kill_one(server, receiver)
        server.wait_until_idle()
        for _ in range(20):
            ask(server.port, "/items/7")
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    clean = ends(receiver)["exited"] + ends(receiver)["stopped"]
    assert (1, clean, clean + 1) == (
        ends(receiver)["unknown"],
        sum(counted(receiver).values()) - 1,
        counted(receiver, ".worker.starts")[None],
    )


@pytest.mark.slow
def test_recycled_workers_are_counted_exactly(receiver: Receiver, tmp_path: Path):
    """Over many generations, and whoever of them reported: what the server counted is what the spans say."""
    with serve(RECYCLING, {**receiver.environment(HTTP), **WANTED}, tmp_path, 0) as server:
        server.wait_until_ready()
        drive(server, 100)
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    spans = workers(receiver)
    starts = {point.start_time for point in of_server(receiver, ".worker.starts")}
    generations = Counter((span.attributes["worker.id"], span.attributes["worker.generation"]) for span in spans)
    assert ends(receiver)["recycled"] >= 8
    assert (dict(ends(receiver)), len(spans), 1, {1}) == (
        counted(receiver),
        counted(receiver, ".worker.starts")[None],
        len(starts),
        set(generations.values()),
    )


@pytest.mark.slow
def test_celerys_pool_processes_are_told_with_their_ends(receiver: Receiver, tmp_path: Path):
    """A process that has done its tasks is recycled, the last ones are stopped: each is one span and counted once."""
    with serve(CELERY, {**receiver.environment(HTTP), **WANTED}, tmp_path, 25) as server:
        assert server.wait(60) == 0, server.output[-3000:]
    receiver.wait_until_quiet()
    found = ends(receiver)
    assert {span.name for span in workers(receiver)} == {"celery.worker"}
    assert (True, {"recycled", "stopped"}, dict(found), found.total()) == (
        found["recycled"] >= 4,
        set(found),
        counted(receiver),
        counted(receiver, ".worker.starts")[None],
    )


def test_one_worker_tells_of_the_server_and_all_of_themselves(receiver: Receiver, tmp_path: Path):
    """The server's metrics have one resource, of the run; each worker's gauges have its own pid on its own resource."""
    environment = {**receiver.environment(HTTP), **WANTED, "BEGUN": str(tmp_path / "begun")}
    with serve(PREFORK, environment, tmp_path, 0) as server:
        server.wait_until_ready()
        pids = {child.pid for child in server.descendants()}
        server.stop()
    receiver.wait_until_quiet()
    ids = {point.resource["service.instance.id"] for point in of_server(receiver, "")}
    own = {point.resource["service.instance.id"] for point in rss(receiver)}
    living = {point.attributes["worker.state"] for point in of_server(receiver, "gunicorn.workers")}
    ports = {point.attributes["network.local.port"] for point in of_server(receiver, "listen.backlog")}
    assert (1, 2, False, {"busy", "idle"}, {server.port}, pids) == (
        len(ids),
        len(own),
        bool(ids & own),
        living,
        ports,
        {point.attributes["worker.pid"] for point in rss(receiver)},
    )


def rss(receiver: Receiver) -> list[ReceivedPoint]:
    """Return the gauges of workers' memory that are about the process that sent them."""
    found = [point for point in receiver.points if point.name == "gunicorn.worker.memory.rss"]
    return [point for point in found if point.attributes["worker.pid"] == point.resource["process.pid"]]


@pytest.mark.slow
def test_the_one_line_alone_tells_nothing_of_workers(receiver: Receiver, requests: int, tmp_path: Path):
    """Nobody who wraps an application gets spans or series that are not about its requests."""
    with serve(RECYCLING, receiver.environment(HTTP), tmp_path, requests) as server:
        server.wait_until_ready()
        drive(server, 50)
        server.stop()
    receiver.wait_until_quiet()
    about = [point.name for point in receiver.points if "worker" in point.name or "process.pid" not in point.resource]
    assert ([], []) == (workers(receiver), about)
