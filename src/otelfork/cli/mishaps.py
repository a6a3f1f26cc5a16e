"""What can be made to go wrong while a server is verified: a killed worker, a request that hangs, a bad collector.

It must not know accounts or terminals.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otelfork.cli.load import Sent, send_one
from otelfork.cli.server import ServerNotStartedError, ServerProcess, free_port
from otelfork.receiver import ALWAYS, Receiver
from otelfork.run.boardfile import in_requests

GOOD, SLOW, REFUSING, DEAD = "good", "slow", "refusing", "dead"
COLLECTORS = (GOOD, SLOW, REFUSING, DEAD)
SLOW_SECONDS = 1.0
_FAULTS: Mapping[str, Callable[[], Receiver]] = {
    SLOW: lambda: Receiver(delay=SLOW_SECONDS),
    REFUSING: lambda: Receiver(refuse=ALWAYS),
}
_NO_WORKERS = ("resource_tracker", "forkserver")


@dataclass(frozen=True, slots=True)
class Mishaps:
    """What is to go wrong, and when: in the middle of the load.

    `kill_one` sends SIGKILL to the busiest worker that is in a request, `timeout_one` is the path of a request that the
    application does not answer, `collector` one of `COLLECTORS`: `slow` answers after a second, `refusing` answers 503, nothing
    listens where `dead` is.
    """

    kill_one: bool = False
    timeout_one: str = ""
    collector: str = GOOD

    def __post_init__(self) -> None:
        """Raise ValueError for a collector that is none."""
        if self.collector not in COLLECTORS:
            raise ValueError(f"collector={self.collector!r} is not valid: expected one of {', '.join(COLLECTORS)}")

    @property
    def listens(self) -> bool:
        """Whether telemetry can arrive at all."""
        return self.collector in {GOOD, SLOW}

    def receiver(self) -> Receiver:
        """Return a receiver that behaves as `collector` says."""
        return _FAULTS.get(self.collector, Receiver)()

    def environment(self) -> dict[str, str]:
        """Return the variables that lead telemetry to where nobody listens, or none."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"} if self.collector == DEAD else {}


class Happening:
    """The mishaps of one run. `killed` is the pid of the worker that was killed, `killed_at` when (wall clock, seconds)."""

    def __init__(
        self, mishaps: Mishaps, server: ServerProcess, *, url: str, requests: int, timeout: float,
        run_directories: Iterable[Path], progress: Callable[[int], object] | None,
    ) -> None:  # fmt: skip
        self.killed: int | None = None
        self.killed_at = 0.0
        self.hung: Sent | None = None
        self._mishaps = mishaps
        self._server = server
        self._url = url.rstrip("/") + mishaps.timeout_one
        self._half = max(1, requests // 2)
        self._timeout = timeout
        self._run_directories = tuple(run_directories)
        self._progress = progress
        self._thread: threading.Thread | None = None
        if mishaps.timeout_one:
            self._thread = threading.Thread(target=self._hang, name="otelfork-hung", daemon=True)
            self._thread.start()

    def progress(self, done: int) -> None:
        """Pass the number of requests on; in the middle of them, kill a worker."""
        if self._progress is not None:
            self._progress(done)
        if done == self._half and self._mishaps.kill_one:
            self._kill()

    def finish(self) -> tuple[Sent, ...]:
        """Wait for the request that hangs.

        Raises:
            ServerNotStartedError: there was no worker to kill.
        """
        if self._mishaps.kill_one and self.killed is None:
            raise ServerNotStartedError(
                "--kill-one: the server has no worker process; give it two (--workers 2)", output=self._server.output()
            )
        if self._thread is not None:
            self._thread.join(self._timeout + 1)
        return () if self.hung is None else (self.hung,)

    def _hang(self) -> None:
        self.hung = send_one(self._url, self._timeout)

    def _kill(self) -> None:
        workers = busiest_first(worker for worker in self._server.members() if worker != self._server.pid)
        if not workers:
            return
        # Between two requests there is nothing to see: of the workers that the scoreboard shows in one, the busiest.
        busy = self._in_requests()
        pid = next((worker for worker in workers if worker in busy), workers[0])
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended by itself just now
        self.killed, self.killed_at = pid, time.time()

    def _in_requests(self) -> set[int]:
        found: set[int] = set()
        for board in (board for directory in self._run_directories for board in directory.glob("*.board")):
            with contextlib.suppress(OSError):  # somebody else's, or removed meanwhile
                found |= in_requests(board.read_bytes())
        return found


def busiest_first(pids: Iterable[int]) -> list[int]:
    """Return the processes by the processor time that they have used; helpers of multiprocessing are no workers."""
    return sorted((pid for pid in pids if not _is_helper(pid)), key=_ticks, reverse=True)


def _ticks(pid: int) -> int:
    """Return the processor time of a process in clock ticks (proc(5), stat fields 14 and 15)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return -1
    return int(fields[11]) + int(fields[12])


def _is_helper(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return True
    return any(name in command for name in _NO_WORKERS)
