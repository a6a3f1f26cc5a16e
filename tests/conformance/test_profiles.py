"""Profiles behind real servers: what the agents of the workers push, decoded, and the spans that name it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.collecting import Collector, collecting
from tests.conformance.driving import Sent, drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import Server, serve
from tests.pprof import Profiled, read

from otelfork.receiver import HTTP, Receiver

GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "--preload")
UWSGI = ("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "2", "--enable-threads")
ROWS = {
    "gunicorn --preload": (*GUNICORN, "profiled:wsgi_app"),
    "gunicorn --preload --max-requests": (*GUNICORN, "--max-requests", "40", "profiled:wsgi_app"),
    "gunicorn uvicorn worker --preload": (
        *GUNICORN,
        "--worker-class",
        "uvicorn_worker.UvicornWorker",
        "profiled:asgi_app",
    ),
    "gunicorn gevent --preload": (*GUNICORN, "--worker-class", "gevent", "profiled:wsgi_app"),
    "uvicorn --workers": ("{python}", "-m", "uvicorn", "--port", "{port}", "--workers", "2", "profiled:asgi_app"),
    "uwsgi": (*UWSGI, "--die-on-term", "--need-app", "--module", "profiled:wsgi_app"),
}
FAST = "gunicorn --preload"
PUSH = "/push.v1.PusherService/Push"
PATIENCE = 40.0


def pushed(collector: Collector) -> list[tuple[str, Profiled]]:
    """Return every sample with the instance id of the process that it names."""
    found = []
    for posted in list(collector.posted):
        assert posted.path == PUSH
        for series in read(posted.body):
            assert series.labels["service_name"] == "conformance"
            found += [(series.labels["service_instance_id"], sample) for sample in series.samples]
    return found


def profiled(collector: Collector) -> set[str]:
    """Return the ids of spans that samples of `burn` name."""
    return {span for _, sample in pushed(collector) if "burn" in sample.stack for span in sample.label("span_id")}


@contextmanager
def serving(name: str, receiver: Receiver, collector: Collector, folder: Path) -> Iterator[Server]:
    """Run a server whose workers are profiled."""
    row = Row(name=name, command=ROWS[name], application=PROGRAMS)
    environment = {
        **receiver.environment(HTTP),
        "PYROSCOPE_SERVER_ADDRESS": collector.url(""),
        "PYROSCOPE_UPLOAD_INTERVAL": "1",
        "OTEL_PYTHON_EXCLUDED_URLS": "/health",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with serve(row, environment, folder, 1) as server:
        server.wait_until_ready()
        yield server


def drive_until(server: Server, enough: Callable[[list[Sent]], bool]) -> list[Sent]:
    """Make requests, some of them untraced, until it is enough."""
    sent, deadline = [], time.monotonic() + PATIENCE
    while not enough(sent):
        assert time.monotonic() < deadline, f"not enough was profiled\n{server.output[-3000:]}"
        sent += drive(server, 8)
        drive(server, 4, "/health")
    return sent


def threads(pid: int) -> set[str]:
    """Return the names that a process's threads have for the kernel, cut to 15 characters; the agent's sender has one."""
    return {each.read_text().strip() for each in Path(f"/proc/{pid}/task").glob("*/comm")}


def spans_by_pid(receiver: Receiver, sent: list[Sent]) -> dict[object, set[str]]:
    """Return the ids of the requests' spans by the pid that answered."""
    assert receiver.wait_for(
        lambda received: sum(span.kind == "SERVER" for span in received.spans) >= len(sent), PATIENCE
    )
    found: dict[object, set[str]] = {}
    for span in receiver.spans:
        if span.kind == "SERVER":
            found.setdefault(span.resource["process.pid"], set()).add(span.span_id)
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != FAST)) for name in ROWS])
def test_every_worker_is_profiled_and_each_request_names_its_profile(name: str, receiver: Receiver, tmp_path: Path):
    """Samples carry the ids of the requests of the process that they name; outside of them none; the master has no agent."""
    with collecting(200) as collector:
        with serving(name, receiver, collector, tmp_path) as server:
            # Of two workers at least, in each at least two requests.
            def enough(sent: list[Sent]) -> bool:
                by_pid = spans_by_pid(receiver, sent)
                known = profiled(collector)
                return sum(len(spans & known) >= 2 for spans in by_pid.values()) >= 2

            sent = drive_until(server, enough)
            assert "reqwest-interna" not in threads(server.process.pid)
            if name == "uwsgi":
                server.wait_until_idle()
            server.stop()
        samples = pushed(collector)
    receiver.wait_until_quiet()
    spans = [span for span in receiver.spans if span.kind == "SERVER"]
    owner = {span.span_id: str(span.resource["service.instance.id"]) for span in spans}
    named = [(instance, span) for instance, sample in samples for span in sample.label("span_id")]
    assert len(sent) == len(spans)
    assert [] == [span for span in spans if span.attributes.get("pyroscope.profile.id") != span.span_id]
    assert [] == [(instance, span) for instance, span in named if owner.get(span) != instance], server.output[-3000:]
    assert set() == {instance for instance, _ in samples} - set(owner.values())
    leaked = [sample.labels for _, sample in samples if "untraced" in sample.stack and sample.labels]
    assert [] == leaked


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [FAST, "uvicorn --workers", "uwsgi"])
def test_the_successor_of_a_killed_worker_is_profiled(name: str, receiver: Receiver, tmp_path: Path):
    """SIGKILL to a worker that is profiled: the one that takes its place starts an agent of its own."""
    with collecting(200) as collector, serving(name, receiver, collector, tmp_path) as server:
        sent = drive_until(server, lambda _: bool(profiled(collector)))
        old = {one.pid for one in sent}
        psutil.Process(sent[0].pid).kill()
        server.wait_until_idle()

        def enough(later: list[Sent]) -> bool:
            fresh = {one.pid for one in later} - old
            by_pid = spans_by_pid(receiver, later)
            return any(by_pid.get(pid, set()) & profiled(collector) for pid in fresh)

        drive_until(server, enough)
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_dead_server_of_profiles_does_not_keep_a_worker(receiver: Receiver, tmp_path: Path):
    """What cannot be pushed is not waited for beyond the exit's own deadline, and no span is lost."""
    with collecting(200) as collector:
        address = collector.port
    closed = Collector(port=address)
    with serving(FAST, receiver, closed, tmp_path) as server:
        sent = [one for _ in range(5) for one in drive(server, 20)]
        server.stop()
    receiver.wait_until_quiet()
    spans = [span for span in receiver.spans if span.kind == "SERVER"]
    assert (len(sent), True) == (len(spans), server.stop_seconds < 15)
