"""gunicorn's arbiter, instrumented: it builds nothing, tells how its workers died, and its dirty side is unharmed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import Server, serve
from tests.conformance.statement import account, total

from otelfork.receiver import HTTP, Receiver

GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "--config")
CONF = "{programs}/instrumenting/gunicorn.conf.py"
PLAIN = Row("plain", (*GUNICORN, CONF, "--timeout", "2", "gunicorn_plain:app"), PROGRAMS)
QUIET = Row("quiet", (*GUNICORN, CONF, "--no-control-socket", "gunicorn_plain:app"), PROGRAMS)
DIRTY = Row("dirty", (*GUNICORN, "{programs}/instrumenting/dirty.conf.py", "gunicorn_dirty:app"), PROGRAMS)


def served(row: Row, environment: dict[str, str], folder: Path, receiver: Receiver) -> tuple[int, int]:
    """Return the arbiter's threads and its connections to the receiver, after its workers have served."""
    folder.mkdir()
    with serve(row, environment, folder, 20) as server:
        server.wait_until_ready()
        drive(server, 20)
        arbiter = psutil.Process(server.process.pid)
        port = urlsplit(receiver.http_endpoint).port
        connections = [peer for peer in arbiter.net_connections("tcp") if peer.raddr and peer.raddr.port == port]
        seen = arbiter.num_threads(), len(connections)
        server.stop()
    return seen


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_instrumented_arbiter_has_no_thread_and_no_socket_of_ours(receiver: Receiver, tmp_path: Path):
    """It is as it would be with OTEL_SDK_DISABLED=true."""
    environment = receiver.environment(HTTP)
    bare = served(QUIET, {**environment, "OTEL_SDK_DISABLED": "true"}, tmp_path / "off", receiver)
    assert bare == served(QUIET, environment, tmp_path / "on", receiver)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_dirty_workers_and_the_control_socket_are_unharmed(receiver: Receiver, tmp_path: Path):
    """What a dirty worker records arrives from itself, it has a span of its own, and the control socket answers."""
    with serve(DIRTY, receiver.environment(HTTP), tmp_path, 30) as server:
        server.wait_until_ready()
        sent = drive(server, 30)
        command = (sys.executable, "-m", "gunicorn.ctl.cli", "-s", str(tmp_path / "control.sock"), "-c", "show workers")
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        server.stop()
        output = server.output
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span="", work_counter="dirty.work")
    assert (30, 0, 0, 30) == (found.received, found.lost, found.doubled, found.counted), output[-5000:]
    work = Counter(span.resource["process.pid"] for span in receiver.spans if span.name == "dirty work")
    workers = Counter(span.attributes["worker.pid"] for span in receiver.spans if span.name == "gunicorn.worker")
    assert (1, 30) == (len(work), sum(work.values()))
    assert dict.fromkeys({*work, *(one.pid for one in sent)}, 1) == workers
    assert all(str(one.pid) in told for one in sent), told


def abandoned(server: Server, path: str) -> socket.socket:
    """Begin a request and do not wait for the answer; the connection is for the caller to close."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return connection


def busy(receiver: Receiver, server: Server) -> int:
    """Return the pid of the worker that sleeps in a request: the only one that has not answered ten others."""
    answered = {one.pid for one in drive(server, 10)}
    (pid,) = {child.pid for child in server.descendants()} - answered
    return pid


def recovered(receiver: Receiver, path: str) -> bool:
    """Tell whether a request's recovered span has arrived."""
    return any(span.attributes.get("http.target") == path for span in receiver.spans)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_killed_workers_request_has_the_documented_name_and_the_signals(receiver: Receiver, tmp_path: Path):
    """SIGKILL from outside: the arbiter has seen it, a survivor tells it."""
    with serve(PLAIN, receiver.environment(HTTP), tmp_path, 30) as server:
        server.wait_until_ready()
        drive(server, 30)
        with abandoned(server, "/hang"):
            os.kill(busy(receiver, server), signal.SIGKILL)
            assert receiver.wait_for(lambda found: recovered(found, "/hang"), 20), server.output[-3000:]
        server.stop()
    (span,) = (span for span in receiver.spans if span.attributes.get("http.target") == "/hang")
    told = (span.name, span.attributes["error.type"], span.attributes["http.method"])
    assert ("gunicorn.request", "SIGKILL", "GET") == told


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", ["/hang", "/deaf"])
def test_a_request_that_timed_out_is_told_as_one(path: str, receiver: Receiver, tmp_path: Path):
    """Where the worker still hears SIGABRT it says so itself; where it is deaf only the arbiter knows, and has noted it."""
    with serve(PLAIN, receiver.environment(HTTP), tmp_path, 30) as server:
        server.wait_until_ready()
        drive(server, 30)
        with abandoned(server, path):
            assert receiver.wait_for(lambda found: recovered(found, path), 30), server.output[-3000:]
        server.stop()
    (span,) = (span for span in receiver.spans if span.attributes.get("http.target") == path)
    assert ("gunicorn.request", "timeout", "ERROR") == (span.name, span.attributes["error.type"], span.status)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_recycled_workers_count_each_request_once(receiver: Receiver, requests: int, tmp_path: Path):
    """Workers that end after 20 requests: every request, every worker, and why each ended."""
    row = Row("recycled", (*PLAIN.command[:-1], "--max-requests", "20", "gunicorn_plain:app"), PROGRAMS)
    with serve(row, receiver.environment(HTTP), tmp_path, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        server.wait_until_idle()  # a successor that is still booting swallows the signal
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span="", work_counter="gunicorn.requests")
    reasons = {span.attributes["worker.exit.reason"] for span in receiver.spans if span.name == "gunicorn.worker"}
    workers = {span.attributes["worker.pid"] for span in receiver.spans if span.name == "gunicorn.worker"}
    assert (requests, 0, 0, requests) == (found.received, found.lost, found.doubled, found.counted)
    assert ({"recycled", "stopped"}, True) == (reasons, {one.pid for one in sent} <= workers)
    assert requests == total(receiver.points, "gunicorn.request.duration")
