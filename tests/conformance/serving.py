"""Starts the command of a row and ends it: its environment, its port, its stacks when it hangs.

It must not know what telemetry is expected. Only processes started here are ever signalled, by their pid.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from tests.conformance.rows import Row

ROOT = Path(__file__).parents[2]
START_SECONDS, STOP_SECONDS = 40.0, 30.0
IDLE_SECONDS = 0.25
"""A process that has used no processor time for so long is taken for ready."""


class Hung(AssertionError):
    """Something did not end before its deadline; the message holds the stacks of the processes."""


class Server:
    """One started command, with what it printed in `log`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.stop_seconds = 0.0

    @property
    def output(self) -> str:
        """Everything the command and its children have printed so far."""
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Wait for the port, then until no process is busy with starting: so every worker gets its share."""
        deadline = time.monotonic() + START_SECONDS
        self._wait_until_listening(deadline)
        self.wait_until_idle(deadline)

    def wait_until_idle(self, deadline: float | None = None) -> None:
        """Wait until no process of the server uses processor time."""
        deadline = deadline or time.monotonic() + STOP_SECONDS
        before: dict[int, float] = {}
        while time.monotonic() < deadline:
            family = [psutil.Process(self.process.pid), *self.descendants()]
            now = {process.pid: _used_seconds(process) for process in family}
            if now == before:
                return
            before = now
            time.sleep(IDLE_SECONDS)
        raise Hung(f"still busy\n{self.stacks()}")

    def _wait_until_listening(self, deadline: float) -> None:
        """Wait for the port to accept a connection; no request is made, so nothing is counted."""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server left with {self.process.returncode}:\n{self.output}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Hung(f"no answer on port {self.port}\n{self.stacks()}")

    def stop(self, *, told: bool = False) -> int:
        """Send SIGTERM to the command alone, unless it was told to end; wait for that and its children; return its status."""
        started = time.monotonic()
        children = self.descendants()
        if self.process.poll() is None and not told:
            self.process.send_signal(signal.SIGTERM)
        status = self.wait(STOP_SECONDS)
        _gone, alive = psutil.wait_procs(children, timeout=STOP_SECONDS)
        self.stop_seconds = time.monotonic() - started
        if alive:
            raise Hung(f"{len(alive)} children outlived their server\n{self.stacks()}")
        return status

    def wait(self, seconds: float) -> int:
        """Wait for the command to end by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Hung(f"still there after {seconds} s\n{self.stacks()}") from None

    def descendants(self) -> list[psutil.Process]:
        """Return the processes that the command has started."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stacks(self) -> str:
        """End every process with SIGABRT, which makes faulthandler print its stacks; return all that was printed."""
        family = [*self.descendants(), psutil.Process(self.process.pid)] if self.process.poll() is None else []
        for number in (signal.SIGABRT, signal.SIGKILL):
            for member in family:
                if member.is_running():
                    member.send_signal(number)
            _gone, family = psutil.wait_procs(family, timeout=3)
        return self.output


@contextmanager
def serve(
    row: Row,
    environment: Mapping[str, str],
    folder: Path,
    requests: int,
    *,
    python_path: tuple[str, ...] = (),
    port: int | None = None,
) -> Iterator[Server]:
    """Start the command of a row; whatever happens, none of its processes is left at the end."""
    port = port or free_port()
    places = {
        "python": sys.executable,
        "uwsgi": str(Path(sys.executable).with_name("uwsgi")),
        "bin": str(Path(sys.executable).parent),
        "programs": str(ROOT / "tests/programs"),
        "port": str(port),
        "requests": str(requests),
    }
    log = folder / "output.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [part.format(**places) for part in row.command],
            cwd=folder,
            env=_environment(row, {"OTELFORK_RUN_DIR": str(folder / "run"), **environment}, python_path),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, log)
    try:
        yield server
    finally:
        server.stacks()


def _used_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return -1.0
    return float(times.user + times.system)


def _environment(row: Row, telemetry: Mapping[str, str], python_path: tuple[str, ...]) -> dict[str, str]:
    """Return the test's own environment without its telemetry variables, plus the row's and the receiver's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELFORK_"))}
    inherited |= {name: value for name, value in os.environ.items() if name == "OTELFORK_TEST_MUTATION"}
    path = [*python_path, str(ROOT / row.application), os.environ.get("PYTHONPATH", "")]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        "OTEL_SERVICE_NAME": "conformance",
        **telemetry,
        **row.environment,
    }


def free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
