"""One server start is one run: its workers share it by slots 0..n-1, and nobody else does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from tests.conformance.driving import drive
from tests.conformance.leaving import ask
from tests.conformance.rows import PROGRAMS, ROWS, Row
from tests.conformance.serving import ROOT, Server, serve

from otelfork.receiver import HTTP, Receiver

NAMED = {row.name: row for row in ROWS}
SERVERS = (
    "gunicorn sync",
    "gunicorn sync --preload",
    "gunicorn gevent",
    "gunicorn asgi",
    "gunicorn uvicorn worker",
    "uvicorn --workers",
    "uwsgi default",
    "uwsgi --lazy-apps",
    "granian wsgi",
    "granian asgi",
    "hypercorn",
)
GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "wsgi_app:app")
PLAIN = Row("gunicorn", GUNICORN, PROGRAMS)

pytestmark = pytest.mark.timeout(120)


def slots(receiver: Receiver) -> dict[int, int]:
    """Return the slot of each process that sent a server span."""
    servers = [span for span in receiver.spans if span.kind == "SERVER"]
    return {int(str(span.resource["process.pid"])): int(str(span.resource["worker.id"])) for span in servers}


def boards(folder: Path) -> int:
    """Count the runs that have files."""
    return len(list((folder / "run").glob("*.board")))


def serve_some(server: Server) -> None:
    """Let each worker answer something."""
    server.wait_until_ready()
    drive(server, 60)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "gunicorn sync")) for n in SERVERS])
def test_workers_of_one_server_share_one_run(name: str, receiver: Receiver, tmp_path: Path):
    """Found without anybody's help: one board, and the slots from 0 on."""
    with serve(NAMED[name], receiver.environment(HTTP), tmp_path, 60) as server:
        serve_some(server)
        made = boards(tmp_path)
        server.stop()
    receiver.wait_until_quiet()
    found = slots(receiver)
    assert (1, list(range(len(found))), True) == (made, sorted(found.values()), len(found) >= 2), server.output


@pytest.mark.slow
def test_two_services_of_one_shell_are_two_runs(receiver: Receiver, tmp_path: Path):
    """They have the parent, the user and the directory in common, and nothing else."""
    shared = {**receiver.environment(HTTP), "OTELFORK_RUN_DIR": str(tmp_path / "run")}
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    with serve(PLAIN, shared, first, 60) as one, serve(PLAIN, shared, second, 60) as other:
        for server in (one, other):
            serve_some(server)
        made = boards(tmp_path)
        one.stop(), other.stop()
    assert made == 2


@pytest.mark.slow
def test_a_reexecuted_master_is_a_run_of_its_own(receiver: Receiver, tmp_path: Path):
    """USR2 starts a second gunicorn beside the first: both serve, and no two living workers share an instance id."""
    environment = {**receiver.environment(HTTP), "OTEL_BSP_SCHEDULE_DELAY": "100"}
    # The console script: `python -m gunicorn` starts its successor with gunicorn's own folder in front of the path.
    script = str(Path(sys.executable).with_name("gunicorn"))
    row = Row("gunicorn --preload", (script, *GUNICORN[3:-1], "--preload", "wsgi_app:app"), PROGRAMS)
    with serve(row, environment, tmp_path, 60) as server:
        serve_some(server)
        server.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 20
        while len(server.descendants()) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        server.wait_until_idle()
        drive(server, 120)
        receiver.wait_until_quiet()
        successor = next(each for each in server.descendants() if len(each.children()) == 2)
        successor.terminate()
        successor.wait(20)
        server.stop()
        ids = {(span.resource["process.pid"], span.resource["service.instance.id"]) for span in receiver.spans}
    pids, instances = {pid for pid, _ in ids}, {instance for _, instance in ids}
    assert (True, len(pids)) == (len(pids) > 2, len(instances)), server.output


@pytest.mark.slow
def test_a_slot_is_free_though_a_child_of_its_owner_lives_on(receiver: Receiver, tmp_path: Path):
    """A long-lived multiprocessing child of a worker that was killed holds neither its slot nor its port."""
    row = Row("gunicorn", (*GUNICORN[:-3], "--workers", "1", "orphaning_wsgi:app"), PROGRAMS)
    environment = {**receiver.environment(HTTP), "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with serve(row, environment, tmp_path, 0) as server:
        server.wait_until_ready()
        first = ask(server.port, "/").pid
        receiver.wait_for(slots, 10)
        orphans = [each for each in server.descendants() if each.ppid() == first]
        try:
            assert len(orphans) == 1
            psutil.Process(first).send_signal(signal.SIGKILL)
            second = ask(server.port, "/quick").pid
            server.stop()
            alive = [each.is_running() for each in orphans]
        finally:
            for each in orphans:
                each.kill()
    receiver.wait_until_quiet()
    assert ({first: 0, second: 0}, [True]) == (slots(receiver), alive), server.output


def _may_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return (
        shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.mark.slow
@pytest.mark.skipif(not _may_unshare(), reason="no pid namespace may be made here")
def test_two_containers_with_one_directory_are_two_runs(receiver: Receiver, tmp_path: Path):
    """Both programs are pid 1 of their namespace; their keys differ, and so do their instance ids."""
    environment = {
        **os.environ,
        **receiver.environment(HTTP),
        "OTELFORK_RUN_DIR": str(tmp_path / "run"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / PROGRAMS), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("OTELFORK_RUN", None)
    program = "import os, calling, time; calling.send(1); time.sleep(1)"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program]
    both = [subprocess.Popen(command, env=environment) for _ in range(2)]
    statuses = [process.wait(30) for process in both]
    receiver.wait_until_quiet()
    servers = [span for span in receiver.spans if span.kind == "SERVER"]
    instances = {span.resource["service.instance.id"] for span in servers}
    assert ([0, 0], {1}, 2) == (statuses, {span.resource["process.pid"] for span in servers}, len(instances))


@pytest.mark.slow
def test_files_of_dead_runs_are_removed(receiver: Receiver, tmp_path: Path):
    """Four servers one after the other leave the files of the last one."""
    environment: Mapping[str, str] = receiver.environment(HTTP)
    for _ in range(4):
        with serve(PLAIN, environment, tmp_path, 0) as server:
            server.wait_until_ready()
            drive(server, 8)
            receiver.wait_until_quiet()
            server.stop()
    assert boards(tmp_path) == 1


REUSED = """
import os, signal, sys, time
import calling, wsgi_app
from wsgiref.util import setup_testing_defaults

def forked(work):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write("99")
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid, os.waitpid(pid, 0)[1]

def killed_in_a_request():
    environ = {"HTTP_TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01", "PATH_INFO": "/items/7"}
    setup_testing_defaults(environ)
    wsgi_app.app(environ, lambda status, headers, exc_info=None: os.kill(os.getpid(), signal.SIGKILL))

def successor():
    import otelfork
    calling.send(1)
    deadline = time.monotonic() + 10
    while not otelfork.flush(5) and time.monotonic() < deadline:
        pass

import otelfork
otelfork.configure()
print(forked(killed_in_a_request), forked(successor), flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not _may_unshare(), reason="no pid namespace may be made here")
def test_a_pid_that_comes_again_is_another_process(receiver: Receiver, tmp_path: Path):
    """A worker is killed in a request, its successor gets its pid: the request is reported, as the dead one's, and once."""
    environment = {
        **os.environ,
        **receiver.environment(HTTP),
        "OTELFORK_RUN_DIR": str(tmp_path / "run"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / PROGRAMS), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("OTELFORK_RUN", None)
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", REUSED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    receiver.wait_until_quiet()
    servers = [span for span in receiver.spans if span.kind == "SERVER"]
    found = sorted((bool(span.attributes.get("otelfork.recovered")), span.resource["process.pid"]) for span in servers)
    assert ("(100, 9) (100, 0)", [(False, 100), (True, 100)]) == (done.stdout.splitlines()[-1], found), done.stderr
