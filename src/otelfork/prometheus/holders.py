"""Who has the port: each run notes its worker that serves, so that siblings wait their turn and another server can name it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otelfork.prometheus.slots import alive, put
from otelfork.run import runs

_HEIRS_SECONDS = 2.5
"""A run whose contenders were heard of so lately comes first when its worker on the port is gone."""
_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that serves a port, or did."""

    pid: int
    service: str
    sibling: bool
    alive: bool
    heirs: bool
    """Whether workers of its run wait for the port."""

    def __str__(self) -> str:
        return f"process {self.pid} of the service {self.service}"


class Holders:
    """The notes of all runs in one directory.

    Args:
        directory: that of the scoreboards.
        run: the key of this process's run.
        service: its `service.name`.
    """

    def __init__(self, directory: Path, run: str, service: str) -> None:
        self._directory = directory
        self._own = directory / f"{run}.holder"
        self._service = service

    def note(self, host: str, port: int) -> None:
        """Note that this process serves the port."""
        pid = os.getpid()
        content = {
            "pid": pid,
            "started": runs.start_time(pid),
            "namespace": runs.namespace(),
            "service": self._service,
            "host": host,
            "port": port,
        }
        with contextlib.suppress(OSError):
            put(self._own, json.dumps(content), self._own.with_suffix(f".{pid}.fresh"))

    def wait(self, holder: Holder | None) -> None:
        """Note that a worker of this run waits for its turn, or that the turn is another run's, which has the port."""
        with contextlib.suppress(OSError):
            if holder is not None and holder.alive and not holder.sibling:
                self._own.unlink(missing_ok=True)
            else:
                os.utime(self._own)

    def forget(self) -> None:
        """Take back the note of this process."""
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._own.read_bytes()).get("pid") == os.getpid():
                self._own.unlink(missing_ok=True)

    def find(self, port: int) -> Holder | None:
        """Return who serves the port, or did last; a sibling before another run's, the living before the dead."""
        names = [name for name in os.listdir(self._directory) if name.endswith(".holder")]  # noqa: PTH208 - once a second
        found = [holder for name in names if (holder := self._read(self._directory / name, port)) is not None]
        return max(found, key=lambda each: (each.alive, each.sibling, each.heirs), default=None)

    def _read(self, path: Path, port: int) -> Holder | None:
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
            if content["port"] != port or content["namespace"] != runs.namespace():  # another container's
                return None
            heirs = time.time() - path.stat().st_mtime < _HEIRS_SECONDS
            pid, started, service = content["pid"], content["started"], str(content["service"])
            return Holder(pid, service, path == self._own, alive(pid, started), heirs)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def stranger(port: int) -> str:
    """Return who listens on a TCP port, as far as /proc tells this user: "process 123 (name)", or "another process"."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(Path("/proc/net", table), port)}
    if inodes:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(str(each.readlink()) in inodes for each in (process / "fd").iterdir()):
                    return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return "another process"


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]
