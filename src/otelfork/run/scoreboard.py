"""The scoreboard: a small shared file in which each process of a run has a slot, and each running request a row of it.

What a killed process leaves here is read by whoever lives. A slot is claimed by a POSIX byte lock, which the kernel drops when
the process dies, whatever children it has; rows are written through a memory map, and survive the writer.

The file has a header page and, per slot, a header row and request rows. Space is reserved with `posix_fallocate` before it is
mapped (writing to a full tmpfs would be SIGBUS) and never truncated. It knows nothing of spans.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import final

from otelfork import forks
from otelfork.run import runs
from otelfork.run.boardfile import (
    END,
    FREE,
    HEADER,
    HEARTBEAT,
    MAGIC,
    ORPHANED,
    PAGE,
    REQUEST,
    ROW,
    ROW_END,
    ROW_HEARTBEAT,
    RUNNING,
    SLOT,
    STATE,
    TEXT_BYTES,
    U64,
    Orphan,
    orphans_of,
)

_LOCK_TRIES = 100


class NoScoreboard(Exception):  # noqa: N818 - a state of the machine, not an error of anybody
    """There is no directory, no space or no lock for a scoreboard; the message says which."""


@final
class Scoreboard:
    """This process's view of its run: one slot of its own, and a look at the others.

    Args:
        directory: where the files are; made with mode 0700, refused if it belongs to somebody else.
        run: the run's key.
        service: the `service.name` of the run, for whoever finds its files when all of it is dead.
        slots: how many processes may have a slot.
        rows: request rows per slot.

    Raises:
        NoScoreboard: it cannot be had.
    """

    __slots__ = (
        "_condemned", "_free", "_kept", "_lock", "_map", "_path", "_rows", "_slot_size", "_slots", "bits",
        "directory", "missed", "pid", "run", "service", "slot",
    )  # fmt: skip

    def __init__(self, directory: Path, run: str, service: str = "", *, slots: int = 1024, rows: int = 63) -> None:
        self.run = run
        self.directory = directory
        self.service = service
        self._path = directory / f"{run}.board"
        self._slots = slots
        self._rows = rows
        self._slot_size = -(-(rows + 1) * ROW // PAGE) * PAGE
        self.pid = os.getpid()
        self._condemned = False
        self._kept: list[int] = []
        """Rows whose requests ended after the process was marked: cleared when their spans are out, else found by a survivor."""
        self.missed = 0
        """Requests that found no free row."""
        try:
            _make_directory(directory)
            self._lock, self.bits = self._open()
            self.slot = self._claim()
            self._map = self._reserve()
        except OSError as error:
            raise NoScoreboard(f"{directory}: {error.strerror or error}") from error
        self._free = deque(self._usable_rows())

    @property
    def instance_id(self) -> str:
        """The slot's id: the same for a successor in the slot, different from every other slot's of every run."""
        return str(uuid.uuid5(uuid.UUID(bytes=self.bits), f"slot {self.slot}"))

    def begin(self, trace_id: int, span_id: int, parent_id: int, flags: int, start: int, text: str) -> int:  # noqa: PLR0917
        """Note a running request; return its row, or -1 where all rows are taken. `text` is "METHOD path"."""
        try:
            row = self._free.pop()
        except IndexError:
            self.missed += 1
            return -1
        raw = text.encode("utf-8", "replace")
        REQUEST.pack_into(
            self._map, row * ROW, flags, min(len(raw), TEXT_BYTES), self.pid, 0, trace_id.to_bytes(16, "big"),
            span_id.to_bytes(8, "big"), parent_id.to_bytes(8, "big"), start, b"", raw, RUNNING,
        )  # fmt: skip
        return row

    def end(self, row: int) -> None:
        """Note that a request has ended. Row -1 is none."""
        # A child that was forked inside the request shares the memory, but the row is its parent's.
        if row <= 0 or os.getpid() != self.pid:
            return
        if self._condemned:
            self._kept.append(row)
            return
        self._map[row * ROW + STATE] = FREE
        self._free.append(row)

    def kept(self) -> Sequence[int]:
        """Return the rows of requests that ended in a process marked for its end: a flush from now on sends their spans."""
        return tuple(self._kept)

    def release(self, rows: Sequence[int]) -> None:
        """Clear rows whose spans were sent."""
        for row in rows:
            self._kept.remove(row)
            self._map[row * ROW + STATE] = FREE
            self._free.append(row)

    def beat(self) -> None:
        """Note that this process lives. Called by the exporter thread about once a second."""
        U64.pack_into(self._map, HEARTBEAT, time.time_ns())

    def mark(self, ended: str) -> None:
        """Note how this process is about to end, for whoever finds its rows; none is cleared from now on before `release`."""
        self._condemned = True
        self._map[END : END + 16] = ended.encode()[:16].ljust(16, b"\0")

    def leads(self) -> bool:
        """Tell whether this process has the lowest living slot."""
        return all(self._dead(slot) for slot in range(self.slot))

    def orphans(self) -> list[Orphan]:
        """Return the requests of killed processes: in this slot, and, if this process leads, in slots whose owner is dead."""
        found = list(orphans_of(self.slot, bytes(self._map), self.bits, owner_lives=True))
        if not self.leads():
            return found
        for slot in range(self._known_slots()):
            if slot == self.slot or not self._try_lock(slot):
                continue
            try:
                content = self._read(slot)
                if content and content[0] == RUNNING:
                    left = list(orphans_of(slot, content, self.bits, owner_lives=False))
                    if not left:
                        self._write(PAGE + slot * self._slot_size, b"\0")
                    found += left
            finally:
                self._unlock(slot)
        return found

    def settled(self, orphans: Iterable[Orphan]) -> None:
        """Clear the rows of orphans that were delivered; until then they are found again."""
        for orphan in orphans:
            offset = PAGE + orphan.slot * self._slot_size + orphan.row * ROW
            span = REQUEST.unpack(self._read_at(offset, REQUEST.size))[5]
            if int.from_bytes(span, "big") != orphan.span_id:
                continue  # somebody else has cleared it meanwhile, and it is in use again
            self._write(offset + STATE, b"\0")
            if orphan.slot == self.slot:
                self._free.append(orphan.row)

    def leave(self) -> None:
        """Give the slot back at a clean exit."""
        self._map[0] = FREE
        self._unlock(self.slot)

    def _open(self) -> tuple[int, bytes]:
        """Open the lock file, and make the board if this process is the run's first; return lock and random bits."""
        for _ in range(_LOCK_TRIES):
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            forks.own(lock)
            with _whole(lock):
                if os.fstat(lock).st_nlink:  # else somebody removed the dead run between our open and our lock
                    return lock, self._header()
            forks.disown(lock)
            os.close(lock)
        raise NoScoreboard(f"{self._path}: the lock could not be had")

    def _header(self) -> bytes:
        board = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            content = os.pread(board, HEADER.size, 0)
            if len(content) == HEADER.size and content.startswith(MAGIC):
                _, bits, self._rows, self._slot_size, *_ = HEADER.unpack(content)
                return bytes(bits)
            bits = os.urandom(16)
            os.posix_fallocate(board, 0, PAGE)
            made = (MAGIC, bits, self._rows, self._slot_size, time.time_ns(), self.service.encode()[:128])
            os.pwrite(board, HEADER.pack(*made), 0)
            return bits
        finally:
            os.close(board)

    def _claim(self) -> int:
        for slot in range(self._slots):
            if self._try_lock(slot):
                return slot
        raise NoScoreboard(f"all {self._slots} slots are taken")

    def _reserve(self) -> mmap.mmap:
        board = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            offset = PAGE + self.slot * self._slot_size
            os.posix_fallocate(board, offset, self._slot_size)
            mapped = mmap.mmap(board, self._slot_size, offset=offset)
        finally:
            os.close(board)
        now = time.time_ns()
        self._keep_orphans(mapped)
        SLOT.pack_into(
            mapped, 0, RUNNING, self.pid, runs.start_time(self.pid), runs.namespace(), now, now, b""
        )  # fmt: skip
        return mapped

    def _keep_orphans(self, mapped: mmap.mmap) -> None:
        """Write the predecessor's end into its rows before its slot header is overwritten."""
        state, _, _, _, _, heartbeat, ended = SLOT.unpack_from(mapped)
        if state != RUNNING:
            return
        for row in range(1, self._rows + 1):
            start = row * ROW
            if mapped[start + STATE] == RUNNING:
                mapped[start + STATE] = ORPHANED
                U64.pack_into(mapped, start + ROW_HEARTBEAT, heartbeat)
                mapped[start + ROW_END : start + ROW_END + 16] = ended

    def _usable_rows(self) -> list[int]:
        return [row for row in range(self._rows, 0, -1) if self._map[row * ROW + STATE] == FREE]

    def _known_slots(self) -> int:
        try:
            return max(0, self._path.stat().st_size - PAGE) // self._slot_size
        except OSError:
            return 0

    def _read(self, slot: int) -> bytes:
        content = self._read_at(PAGE + slot * self._slot_size, self._slot_size)
        return content if len(content) == self._slot_size else b""

    def _read_at(self, offset: int, size: int) -> bytes:
        board = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(board, size, offset)
        finally:
            os.close(board)

    def _write(self, offset: int, content: bytes) -> None:
        board = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(board, content, offset)
        finally:
            os.close(board)

    def _dead(self, slot: int) -> bool:
        if not self._try_lock(slot):
            return False
        self._unlock(slot)
        return True

    def _try_lock(self, slot: int) -> bool:
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 + slot)
        except OSError:
            return False
        return True

    def _unlock(self, slot: int) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, 1 + slot)


@contextlib.contextmanager
def _whole(lock: int) -> Iterator[None]:
    """Hold byte 0, which guards making and removing the files of a run; others hold it for microseconds."""
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
            break
        except OSError:
            if attempt == _LOCK_TRIES - 1:
                raise
            time.sleep(0.001)
    try:
        yield
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, 0)


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NoScoreboard(
            f"{directory} belongs to another user or is open to others; it has to be ours, with mode 0700"
        )
