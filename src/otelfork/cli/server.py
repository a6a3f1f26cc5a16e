"""The life of the server under test: start, wait until it listens, stop, wait for its end.

It ends only processes of its own: the one it started, and those left in the session that it made for it. It
must not know telemetry.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

_OUTPUT_KEPT = 64 * 1024
_POLL = 0.05
_PORTS = range(20000, 32000)


class ServerNotStartedError(Exception):
    """The server cannot be driven: it did not start, ended early or does not listen where it should.

    `output` is the end of what it printed, `exit_status` its exit status or None while it ran.
    """

    def __init__(self, reason: str, *, output: str = "", exit_status: int | None = None) -> None:
        super().__init__(reason)
        self.output = output
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a server ended.

    `seconds` from SIGTERM to the exit of the process that was started, `exit_status` (negative: killed by
    that signal), `died` whether it had ended before, `killed` whether it had to be killed at the deadline,
    `left_running` the pids of its session that outlived it and had to be killed (Linux only).
    """

    seconds: float
    exit_status: int
    died: bool
    killed: bool
    left_running: tuple[int, ...]


class ServerProcess:
    """A server command that runs for a `with` block, in a session of its own.

    A session of its own, so that a Ctrl-C reaches only us and we stop the server in order. Its output goes to
    an unnamed file (a pipe would fill up or outlive it), or to our standard error with `show_output`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: str | Path | None = None,
        show_output: bool = False,
    ) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        try:
            self._process = subprocess.Popen(  # noqa: S603 - running the user's command is what it is for
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=2 if show_output else self._output,
                stderr=None if show_output else subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            raise ServerNotStartedError(f"cannot run {command[0]!r}: {error.strerror}") from error

    def __enter__(self) -> ServerProcess:  # noqa: PYI034 - Self is not in the typing of 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop(timeout=5)
        self._output.close()

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def members(self) -> tuple[int, ...]:
        """Return the pids of its session that run, its own among them (Linux only)."""
        return _session_members(self._process.pid)

    def output(self) -> str:
        """Return the end of what it printed so far, at most 64 KiB."""
        descriptor = self._output.fileno()
        size = os.fstat(descriptor).st_size
        # pread: the file offset is shared with the server, which would write where we had sought to.
        return os.pread(descriptor, _OUTPUT_KEPT, max(0, size - _OUTPUT_KEPT)).decode(errors="replace")

    def wait_until_listening(self, host: str, port: int, timeout: float) -> None:
        """Wait until something accepts connections there, by connecting: a request would be counted.

        Raises ServerNotStartedError if the server ends before that or `timeout` seconds pass.
        """
        deadline = time.monotonic() + timeout
        while not listening(host, port):
            if self._process.poll() is not None:
                raise self._not_started(f"the server ended with status {self._process.returncode}")
            if time.monotonic() >= deadline:
                raise self._not_started(f"nothing listens on {host}:{port} after {timeout:g} s")
            time.sleep(_POLL)

    def stop(self, timeout: float) -> Stopped:
        """Send SIGTERM to the process that was started and wait for its end and that of its session.

        After `timeout` seconds it is killed, then whoever is left of its session; an earlier end is no error.
        """
        begin = time.monotonic()
        died = self._process.poll() is not None
        killed = False
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            killed = True
            self._process.kill()
            self._process.wait()
        seconds = time.monotonic() - begin
        left_running = self._end_session(max(1.0, timeout - seconds))
        return Stopped(seconds, self._process.returncode, died, killed, left_running)

    def _end_session(self, timeout: float) -> tuple[int, ...]:
        """Wait for those who outlive the first process, then kill them: one holds the port against the next run."""
        deadline = time.monotonic() + timeout
        while left := _session_members(self._process.pid):
            if time.monotonic() >= deadline:
                for pid in left:
                    _kill(pid)
                return left
            time.sleep(_POLL)
        return ()

    def _not_started(self, reason: str) -> ServerNotStartedError:
        return ServerNotStartedError(reason, output=self.output(), exit_status=self._process.poll())


def listening(host: str, port: int) -> bool:
    """Tell whether something accepts TCP connections at an address."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on just now.

    It is below the ports that systems hand out by themselves (from 32768, or 49152), if one is free there: until the
    server has bound it, no client's connection and nothing that asks for port 0 can take it.
    """
    candidates = random.SystemRandom().sample(_PORTS, 50)
    for candidate in (*candidates, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", candidate))
            port: int = probe.getsockname()[1]
            return port
    raise OSError("no free TCP port on 127.0.0.1")


def _session_members(session: int) -> tuple[int, ...]:
    """Return the pids of a session that still run, zombies left out; () where there is no /proc (proc(5), stat)."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session, *_ = path.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue  # it ended meanwhile
        if int(its_session) == session and state not in "ZX":
            members.append(int(path.parent.name))
    return tuple(members)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended meanwhile
