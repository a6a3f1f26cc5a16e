"""What a master writes on the board about a worker that it saw die. It has no slot, takes no lock and opens no lock file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from otelfork.run.boardfile import COUNTED, END, END_BYTES, HEADER, MAGIC, PAGE, RUNNING, SLOT, Owner


def note_death(directories: Iterable[Path], pid: int, ended: str, namespace: int) -> bool:
    """Note how a dead process of this pid namespace ended, in the slot that it had; tell whether it had one.

    What the process itself noted before it died stays. All boards are looked through: the application may have named its service
    in code that the master never saw, and then the run has a key that the master cannot know.
    """
    found = [
        slot for directory in directories for board in _boards(directory) for slot in _slots_of(board, pid, namespace)
    ]
    if not found:
        return False
    _, board, offset, owner = max(found, key=lambda each: each[0])
    if not owner.ended and not owner.flags & COUNTED:
        _write(board, offset + END, ended.encode()[:END_BYTES].ljust(END_BYTES, b"\0"))
    return True


def _boards(directory: Path) -> list[Path]:
    try:
        return sorted(directory.glob("*.board"))
    except OSError:
        return []


def _slots_of(path: Path, pid: int, namespace: int) -> Iterator[tuple[int, Path, int, Owner]]:
    """Yield the slots that a process of that pid has not left: when it began, the board, where, and the header."""
    with contextlib.suppress(OSError):
        board = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = os.pread(board, HEADER.size, 0)
            if len(header) < HEADER.size or not header.startswith(MAGIC):
                return
            size = HEADER.unpack(header)[3]
            for offset in range(PAGE, os.fstat(board).st_size, size):
                raw = os.pread(board, SLOT.size, offset)
                if len(raw) < SLOT.size or raw[0] != RUNNING:
                    continue
                owner = Owner.read(raw)
                if (owner.pid, owner.namespace) == (pid, namespace):
                    yield owner.begun, path, offset, owner
        finally:
            os.close(board)


def _write(path: Path, offset: int, content: bytes) -> None:
    with contextlib.suppress(OSError):
        board = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(board, content, offset)
        finally:
            os.close(board)
