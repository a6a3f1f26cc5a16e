"""The board file of a run: made, reserved, read and written. It knows where a slot lies, and not who has it.

Space is reserved with `posix_fallocate` before it is mapped (writing to a full tmpfs would be SIGBUS) and never truncated.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import final

from otelfork.run.boardfile import HEADER, MAGIC, PAGE, ROW


class NoScoreboard(Exception):  # noqa: N818 - a state of the machine, not an error of anybody
    """There is no directory, no space or no lock for a scoreboard; the message says which."""


@final
class Store:
    """The board file; opened for each reading and writing, so that no descriptor is kept.

    Args:
        path: the file.
        rows: request rows per slot, in a file that has to be made; else the file's own number counts.
    """

    __slots__ = ("bits", "created", "path", "rows", "slot_size")

    def __init__(self, path: Path, rows: int) -> None:
        self.path = path
        self.rows = rows
        self.slot_size = -(-(rows + 2) * ROW // PAGE) * PAGE  # the header, the requests, and the worker itself
        self.bits = b""
        self.created = 0

    def open(self, service: str) -> None:
        """Make the file if this process is the run's first, and read what it says of itself."""
        board = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            content = os.pread(board, HEADER.size, 0)
            if len(content) == HEADER.size and content.startswith(MAGIC):
                _, self.bits, self.rows, self.slot_size, self.created, _ = HEADER.unpack(content)
                return
            self.bits, self.created = os.urandom(16), time.time_ns()
            os.posix_fallocate(board, 0, PAGE)
            made = (MAGIC, self.bits, self.rows, self.slot_size, self.created, service.encode()[:128])
            os.pwrite(board, HEADER.pack(*made), 0)
        finally:
            os.close(board)

    def reserve(self, slot: int) -> mmap.mmap:
        """Reserve the slot's space and map it."""
        board = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            offset = self.offset(slot)
            os.posix_fallocate(board, offset, self.slot_size)
            return mmap.mmap(board, self.slot_size, offset=offset)
        finally:
            os.close(board)

    def offset(self, slot: int) -> int:
        """Return where a slot begins."""
        return PAGE + slot * self.slot_size

    def slots(self) -> int:
        """Return how many slots the file has."""
        try:
            return max(0, self.path.stat().st_size - PAGE) // self.slot_size
        except OSError:
            return 0

    def slot(self, slot: int) -> bytes:
        """Return a slot's content; nothing if the file has no such slot."""
        content = self.read(self.offset(slot), self.slot_size)
        return content if len(content) == self.slot_size else b""

    def read(self, offset: int, size: int) -> bytes:
        """Return that part of the file."""
        board = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(board, size, offset)
        finally:
            os.close(board)

    def write(self, offset: int, content: bytes) -> None:
        """Change that part of the file."""
        board = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(board, content, offset)
        finally:
            os.close(board)


def make_directory(directory: Path) -> None:
    """Make the folder of the runs' files, for this user alone.

    Raises:
        NoScoreboard: it is there, and somebody else's or open to others.
        OSError: it cannot be made.
    """
    try:
        found = os.lstat(directory)  # nearly always: the first request of a worker waits for it
    except FileNotFoundError:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(directory)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NoScoreboard(
            f"{directory} belongs to another user or is open to others; it has to be ours, with mode 0700"
        )
