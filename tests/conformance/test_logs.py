"""Python's logging behind real servers: each record once, from the process that made it, in the trace of its request."""

from __future__ import annotations

import contextlib
import http.client
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
from tests.conformance.driving import Sent, drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import serve

from otelfork.receiver import HTTP, Receiver
from otelfork.receiver.records import ReceivedLog

GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3", "--access-logfile", "-")
UVICORN_WORKER = ("--worker-class", "uvicorn_worker.UvicornWorker")
UWSGI = ("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3", "--enable-threads")
HYPERCORN = ("{python}", "-m", "hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "2")
GRANIAN = ("{python}", "-m", "granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2", "--access-log")
ROWS = {
    "gunicorn --preload": ((*GUNICORN, "--preload", "logging_wsgi:app"), "gunicorn.access"),
    "gunicorn": ((*GUNICORN, "logging_wsgi:app"), "gunicorn.access"),
    "gunicorn --log-config": (
        (*GUNICORN, "--preload", "--log-config", "{programs}/logging.ini", "logging_wsgi:app"),
        "gunicorn.access",
    ),
    "gunicorn --preload recycling": (
        (*GUNICORN, "--preload", "--max-requests", "10", "logging_wsgi:app"),
        "gunicorn.access",
    ),
    "gunicorn uvicorn worker --preload": (
        (*GUNICORN, *UVICORN_WORKER, "--preload", "logging_asgi:app"),
        "uvicorn.access",
    ),
    "uvicorn --workers": (
        ("{python}", "-m", "uvicorn", "--port", "{port}", "--workers", "2", "logging_asgi:app"),
        "uvicorn.access",
    ),
    "hypercorn": (
        (*HYPERCORN, "--access-logfile", "-", "--error-logfile", "-", "logging_asgi:app"),
        "hypercorn.access",
    ),
    "granian asgi": ((*GRANIAN, "--interface", "asgi", "logging_asgi:app"), "granian.access"),
    "granian wsgi": ((*GRANIAN, "--interface", "wsgi", "logging_wsgi:app"), "granian.access"),
    "uwsgi": ((*UWSGI, "--die-on-term", "--need-app", "--module", "logging_wsgi:app"), ""),
}
FAST = ("gunicorn --preload", "uvicorn --workers")
ON = {"OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true"}


def of(logs: Iterable[ReceivedLog], scope: str) -> list[tuple[str, object]]:
    """Return trace id and pid of the records of one logger that were made for a request."""
    return sorted(
        (log.trace_id, str(log.resource["process.pid"])) for log in logs if log.scope.name == scope and log.trace_id
    )


def told(sent: Iterable[Sent]) -> list[tuple[str, str]]:
    return sorted((one.trace_id, str(one.pid)) for one in sent)


def fail(port: int) -> str:
    """Make a request that the application answers with an exception; return its trace id."""
    trace_id = "f" * 31 + "0"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/boom", headers={"traceparent": f"00-{trace_id}-{'1' * 16}-01", "connection": "close"})
    with contextlib.suppress(http.client.RemoteDisconnected):  # what uWSGI makes of an exception
        connection.getresponse().read()
    connection.close()
    return trace_id


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in ROWS])
def test_each_line_leaves_once_in_its_request_s_trace(name: str, receiver: Receiver, requests: int, tmp_path: Path):
    """Lines of the application and of the server's access log: one of each per request, with trace id and own pid."""
    command, access = ROWS[name]
    row = Row(name=name, command=command, application=PROGRAMS, stop_idle=name == "uwsgi")
    with serve(row, {**receiver.environment(HTTP), **ON}, tmp_path, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        failed = fail(server.port)
        if row.stop_idle:
            server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    logs = receiver.logs
    expected = told(sent)
    assert expected == of(logs, "shop"), server.output[-3000:]
    if access:
        assert expected == [one for one in of(logs, access) if one[0] != failed], server.output[-3000:]
    if name.startswith("granian"):
        # Its Rust side prints the stack as text, on a thread of its own.
        assert 1 == sum("ValueError: boom" in str(log.body) for log in logs if log.scope.name.startswith("_granian"))
    elif access:
        errors = [log for log in logs if log.attributes.get("exception.message") == "boom"]
        assert [(failed, "ValueError")] == [(log.trace_id, log.attributes["exception.type"]) for log in errors]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "way",
    [
        "basicConfig",
        *(pytest.param(way, marks=pytest.mark.slow) for way in ("force", "dictConfig", "fileConfig", "memory")),
    ],
)
def test_a_master_s_lines_leave_once(way: str, receiver: Receiver, tmp_path: Path):
    """What a preloading master logged before the fork is not repeated by its workers, however logging is set up after us."""
    row = Row(name=way, command=ROWS["gunicorn --preload"][0], application=PROGRAMS)
    with serve(row, {**receiver.environment(HTTP), **ON, "LOGGING": way}, tmp_path, 30) as server:
        server.wait_until_ready()
        drive(server, 30)
        master = server.process.pid
        server.stop()
    receiver.wait_until_quiet()
    lines = Counter((str(log.body).partition(":")[0], log.resource["process.pid"]) for log in receiver.logs)
    wanted = {("imported", master): 1, ("Listening at", master): 1, ("Handling signal", master): 1}
    assert wanted == {line: lines[line] for line in wanted}, server.output[-3000:]
    assert sum(count for (line, _), count in lines.items() if line == "imported") == 1


CONFIGURED = """
import logging
import otelfork

otelfork.configure(service_name="shop")
logging.basicConfig(level=logging.INFO)
logging.getLogger("shop.conf").info("configured")


def when_ready(server):
    logging.getLogger("shop.conf").info("ready")


def on_exit(server):
    logging.getLogger("shop.conf").info("leaving")
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("protocol", [HTTP, pytest.param("grpc", marks=pytest.mark.slow)])
def test_lines_after_an_explicit_configure_in_the_master_leave_once(protocol: str, receiver: Receiver, tmp_path: Path):
    """`otelfork.configure()` in gunicorn.conf.py: what the master's own code logs is exported by the master alone."""
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURED, encoding="utf-8")
    row = Row(name="configured", command=ROWS["gunicorn --preload"][0], application=PROGRAMS)
    with serve(row, {**receiver.environment(protocol), **ON}, tmp_path, 30) as server:
        server.wait_until_ready()
        sent = drive(server, 30)
        master = server.process.pid
        server.stop()
    receiver.wait_until_quiet()
    mine = [(log.body, log.resource["process.pid"]) for log in receiver.logs if log.scope.name == "shop.conf"]
    assert [("configured", master), ("leaving", master), ("ready", master)] == sorted(mine), server.output[-3000:]
    assert told(sent) == of(receiver.logs, "shop")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["gunicorn --preload", "uvicorn --workers", "uwsgi"])
def test_a_killed_worker_s_lines_leave_once(name: str, receiver: Receiver, tmp_path: Path):
    """SIGKILL to a worker whose lines are exported: nothing of it is repeated, its successor's lines are its own."""
    row = Row(name="killed", command=ROWS[name][0], application=PROGRAMS)
    environment = {**receiver.environment(HTTP), **ON, "OTEL_BLRP_SCHEDULE_DELAY": "50"}
    with serve(row, environment, tmp_path, 60) as server:
        server.wait_until_ready()
        sent = drive(server, 30)
        assert receiver.wait_for(lambda received: len(of(received.logs, "shop")) == 30, 20)
        psutil.Process(sent[0].pid).kill()
        server.wait_until_idle()
        sent += drive(server, 30)
        if name == "uwsgi":
            server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    assert told(sent) == of(receiver.logs, "shop"), server.output[-3000:]
