"""The files of a run's slots: what each has counted so far, and the socket on which its owner is asked to bring that up to date.

A slot's file is replaced as a whole by the one process that holds the slot: a reader finds the old or the new one and no mixture,
whenever the writer is killed. It is the slot's total: a successor starts from what its predecessor wrote, which is
folded in exactly once by the successor's first writing. The number of files is bounded by the number of slots.

It knows nothing of what is counted, except that it is JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from otelfork.run import runs

_DIRECTORY = getattr(os, "O_DIRECTORY", 0) | os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_BACKLOG = 64
_FORMAT = 1
"""Of the files. Those of another release of this package are passed over: a reload may bring one into a run."""
_LONGEST_SECONDS = 86_400.0
_DONE = b"1"


class Slots:
    """The slots of one run, seen by any of its processes.

    Args:
        directory: the directory of the run's scoreboard.
        run: the run's key.
    """

    def __init__(self, directory: Path, run: str) -> None:
        self.directory = directory
        self._run = run

    def known(self) -> list[int]:
        """Return the slots that have a file or an owner that can be asked for one, in order."""
        found = set()
        for name in os.listdir(self.directory):  # noqa: PTH208 - no object for each file of every run
            run, _, rest = name.partition(".")
            slot, _, kind = rest.partition(".")
            if run == self._run and kind in {"metrics", "ask"} and slot.isdigit():
                found.add(int(slot))
        return sorted(found)

    def write(self, slot: int, content: dict[str, Any]) -> None:
        """Replace a slot's file. Only for the process that holds the slot.

        Raises:
            OSError: it could not be written; the old one stands.
        """
        content = {"format": _FORMAT, **content}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=float)
        path = self._path(slot, "metrics")
        put(path, text, path.with_suffix(".fresh"))

    def read(self, slot: int) -> dict[str, Any]:
        """Return what stands in a slot's file; {} where nothing does."""
        try:
            content = json.loads(self._path(slot, "metrics").read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) and content.get("format") == _FORMAT else {}

    def listen(self, slot: int) -> socket.socket:
        """Return the socket on which the owner of a slot is asked. Only for the process that holds the slot.

        Raises:
            OSError: there can be none.
        """
        asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._address(slot) as address:
                self._path(slot, "ask").unlink(missing_ok=True)
                asked.bind(address)
            asked.listen(_BACKLOG)
        except OSError:
            asked.close()
            raise
        return asked

    def leave(self, slot: int) -> None:
        """Remove a slot's socket, before its owner gives the slot up. What it has counted stays."""
        with contextlib.suppress(OSError):
            self._path(slot, "ask").unlink(missing_ok=True)

    def ask(self, slots: Iterable[int]) -> Sequence[tuple[int, socket.socket]]:
        """Ask the owners to bring their files up to date, all at once; return whom one can ask, with a line for `answered`."""
        lines = []
        for slot in slots:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            line.setblocking(False)
            try:
                with self._address(slot) as address:
                    line.connect(address)
            except OSError:  # nobody is there, or too busy to take one more question
                line.close()
            else:
                lines.append((slot, line))
        return lines

    def lives(self, slot: int, content: dict[str, Any]) -> bool:
        """Tell whether the process that wrote a slot's file lives and still keeps it."""
        pid, started = content.get("pid"), content.get("started")
        return isinstance(pid, int) and self._path(slot, "ask").exists() and alive(pid, started)

    def _path(self, slot: int, kind: str) -> Path:
        return self.directory / f"{self._run}.{slot}.{kind}"

    @contextlib.contextmanager
    def _address(self, slot: int) -> Iterator[str]:
        """Yield an address for a slot's socket that is short enough: 107 bytes at the most (unix(7)), whatever the directory."""
        path = str(self._path(slot, "ask"))
        if len(os.fsencode(path)) < 100 or not os.path.isdir("/proc/self/fd"):  # noqa: PTH112
            yield path
            return
        directory = os.open(self.directory, _DIRECTORY)
        try:
            yield f"/proc/self/fd/{directory}/{self._run}.{slot}.ask"
        finally:
            os.close(directory)


def put(path: Path, text: str, fresh: Path) -> None:
    """Replace a file as a whole, through another one of the same directory; only its user can read it.

    Raises:
        OSError: it could not be written; the old one stands.
    """
    with open(fresh, "wb", opener=_private) as file:
        file.write(text.encode())
    fresh.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def answer(line: socket.socket) -> None:
    """Tell who asked that the file is up to date, and hang up."""
    with contextlib.suppress(OSError):
        line.setblocking(False)
        line.send(_DONE)
    line.close()


def answered(line: socket.socket, deadline: float) -> bool:
    """Wait for the answer until the monotonic deadline and hang up; tell whether there was one."""
    try:
        # Also past the deadline: an answer that is there already is taken.
        line.settimeout(min(max(0.0, deadline - time.monotonic()), _LONGEST_SECONDS))
        return line.recv(1) == _DONE
    except OSError:
        return False
    finally:
        line.close()


def alive(pid: int, started: int | None) -> bool:
    """Tell whether a process lives: pids come again, so its start (clock ticks) has to be the same where it can be told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return started is None or runs.start_time(pid) == started
