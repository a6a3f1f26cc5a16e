"""Processes that record nothing have nothing of ours: a preloading master, a forked child."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import PROGRAMS, ROWS, Row
from tests.conformance.serving import serve
from tests.fresh import outcome

from otelfork.receiver import HTTP, Receiver

MASTERS = {row.name: row for row in ROWS if row.preload and not row.slow}
OFF = {"OTEL_SDK_DISABLED": "true"}
QUIET_CHILD = Row("a quiet child", ("{python}", "{programs}/quiet_child.py"), PROGRAMS, driver="program")


def _observed(row: Row, environment: Mapping[str, str], folder: Path, receiver: Receiver) -> tuple[int, int]:
    """Return the master's threads and its connections to the receiver, after its workers have served."""
    folder.mkdir()
    with serve(row, environment, folder, 20) as server:
        server.wait_until_ready()
        drive(server, 20)
        master = psutil.Process(server.process.pid)
        ports = {urlsplit(receiver.http_endpoint).port, urlsplit(receiver.grpc_endpoint).port}
        connections = [peer for peer in master.net_connections("tcp") if peer.raddr and peer.raddr.port in ports]
        seen = master.num_threads(), len(connections)
        server.stop()
    return seen


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name.split()[1] not in {"sync", "default"})) for name in MASTERS],
)
def test_a_master_has_no_thread_and_no_socket_of_ours(name: str, receiver: Receiver, tmp_path: Path):
    """Its threads are as many as with OTEL_SDK_DISABLED=true, and it holds no connection to the receiver."""
    row, environment = MASTERS[name], receiver.environment("grpc")
    bare = _observed(row, {**environment, **OFF}, tmp_path / "off", receiver)
    assert bare == _observed(row, environment, tmp_path / "on", receiver)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_child_that_records_nothing_holds_no_connection_of_ours(receiver: Receiver, tmp_path: Path):
    """The hook closes the inherited connections by number; the parent's are not touched."""
    with serve(QUIET_CHILD, receiver.environment(HTTP), tmp_path, 1) as server:
        assert server.wait(30) == 0, server.output
        told = dict(line.split() for line in server.output.splitlines() if line.startswith(("parent", "child")))
    assert (int(told["parent"]) > 0, told["child"]) == (True, "0")


def test_a_master_that_recorded_nothing_forks_without_a_warning(receiver: Receiver, tmp_path: Path):
    """Python 3.12 and later warn when a process with threads forks; configured and wrapped, there is none."""
    program = """
        import warnings
        warnings.simplefilter("error")
        otelfork.configure()
        app = otelfork.OtelMiddleware(lambda environ, start_response: [])
        metrics.get_meter("m").create_counter("c")
        pid = os.fork()
        if pid == 0:
            span("child")
            os._exit(0 if otelfork.flush(5) else 3)
        out(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), threads())
    """
    environment = {**receiver.environment(HTTP), "OTELFORK_RUN_DIR": str(tmp_path / "run")}
    status, lines, errors = outcome(program, environment=environment)
    assert (0, ["0 []"], False) == (status, lines, "Warning" in errors), errors
