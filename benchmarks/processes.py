"""The processes of a benchmark, each for a `with` block: the sink, the children, the servers; ended by their own pid."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from typing_extensions import Self

from benchmarks.variants import environment

ROOT = Path(__file__).resolve().parent.parent
ERRORS = None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL
"""Where standard error of the processes that are measured goes: start-up lines and warnings are not figures."""


class Started:
    """A process that lives for a `with` block."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], **options: Any) -> None:
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, text=True, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        if self.process.stdin is None:  # else it ends because its standard input did
            self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sink(Started):
    """The sink (see `benchmarks.sink`)."""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.sink"], {}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def take(self) -> dict[str, int]:
        """Return the counts since the last call."""
        with urllib.request.urlopen(self.endpoint + "/counts", timeout=10) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts

    def wait_for_spans(self, number: int, timeout: float = 20.0) -> bool:
        """Wait until so many spans have arrived since the last `take`."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with urllib.request.urlopen(self.endpoint + "/peek", timeout=10) as answer:
                if int(answer.read()) >= number:
                    return True
            time.sleep(0.02)
        return False


class Child(Started):
    """One variant, driven in its own process (see `benchmarks.child`)."""

    def __init__(self, variant: str, interface: str, sink: Sink, env: Mapping[str, str]) -> None:
        super().__init__(
            [sys.executable, "-m", "benchmarks.child", variant, interface],
            {**environment(sink.endpoint), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=ERRORS,
        )
        self._reply()

    def run(self, phase: str, requests: int, **more: Any) -> dict[str, Any]:
        """Drive one slice of requests."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"phase": phase, "requests": requests, **more}) + "\n")
        self.process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with status {self.process.wait()}; see BENCH_VERBOSE=1")
        reply: dict[str, Any] = json.loads(line)
        return reply


class Server(Started):
    """One variant under gunicorn (WSGI) or uvicorn (ASGI), one worker."""

    def __init__(self, variant: str, interface: str, sink: Sink) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        bind = f"127.0.0.1:{self.port}"
        gunicorn = ["gunicorn", "benchmarks.served:wsgi", "--bind", bind, "--worker-class", "gthread", "--threads", "4"]
        uvicorn = ["uvicorn", "benchmarks.served:asgi", "--port", str(self.port), "--no-access-log"]
        command = [sys.executable, "-m", *(gunicorn if interface == "wsgi" else uvicorn), "--log-level", "error"]
        if interface == "wsgi":
            command += ["--keep-alive", "30", "--no-control-socket"]
        quick = {"BENCH_VARIANT": variant, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        super().__init__(
            command,
            {**environment(sink.endpoint), **quick},
            stdout=subprocess.DEVNULL,
            stderr=ERRORS,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while not self._listens():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.process.args!r} does not listen")
            time.sleep(0.05)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def cpu(self) -> float:
        """Return the CPU seconds of the server and its workers, from the scheduler's own nanoseconds where there are any."""
        return sum(map(_cpu, self._tree()))

    def memory(self) -> int:
        """Return the unique memory of the process that serves, in bytes."""
        used: int = self._tree()[-1].memory_full_info().uss
        return used

    def _tree(self) -> list[psutil.Process]:
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    try:
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):
        times = process.cpu_times()
        spent: float = times.user + times.system
        return spent
