"""The scoreboard: a small shared file in which each process of a run has a slot, and each running request a row of it.

What a killed process leaves here is read by whoever lives. A slot is claimed by a byte lock (see `locks`); rows are written through
a memory map, and survive the writer. It knows nothing of spans.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import final

from otelfork.run import deaths, names, runs
from otelfork.run.boardfile import (
    BEGUN_REQUEST,
    BEYOND,
    COUNTED,
    END,
    END_BYTES,
    ENDED,
    FLAGS,
    FREE,
    HEARTBEAT,
    LIMIT,
    MISSED,
    ROW,
    RUNNING,
    SERVER,
    SERVER_BYTES,
    SLOT,
    STATE,
    SUPERVISOR,
    U32,
    U64,
    WORKER,
    WORKING,
    Enlisted,
    Orphan,
    Owner,
    orphans_of,
)
from otelfork.run.census import Census, take
from otelfork.run.claiming import claimed, clear
from otelfork.run.locks import TRIES, SlotLocks
from otelfork.run.store import NoScoreboard, Store, make_directory
from otelfork.run.tally import Tally

_write_row = BEGUN_REQUEST.pack_into


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
        "_beyond", "_condemned", "_free", "_kept", "_left", "_locks", "_map", "_slots", "_store", "_worker", "directory",
        "generation", "missed", "pid", "run", "service", "slot", "tally",
    )  # fmt: skip

    def __init__(self, directory: Path, run: str, service: str = "", *, slots: int = 1024, rows: int = 63) -> None:
        self.run = run
        self.directory = directory
        self.service = service
        self._slots = slots
        self._store = Store(directory / f"{run}.board", rows)
        self.tally = Tally(self._store.path)
        """What the run has counted, whoever of it lives."""
        self.pid = os.getpid()
        self._condemned = False
        self._kept: list[int] = []
        """Rows whose requests ended after the process was marked: cleared when their spans are out, else found by a survivor."""
        self.missed = 0
        """Requests that found no free row."""
        self._beyond: deque[None] = deque()
        """As many as there are such requests running: appending and popping need no lock."""
        self._worker = 0
        """The row of the worker itself; 0 for none."""
        try:
            make_directory(directory)
            self._locks = self._open()
            self.slot = self._claim()
            self.generation = self._begin()
            """How many processes have had this slot, this one included."""
        except OSError as error:
            raise NoScoreboard(f"{directory}: {error.strerror or error}") from error
        self._free: deque[int] = deque()
        self._left = set(range(1, self._store.rows + 1))
        """Rows with what a predecessor left, until somebody has sent it."""
        self._free_left()

    @property
    def bits(self) -> bytes:
        """The random bits of the run."""
        return self._store.bits

    @property
    def created(self) -> int:
        """When the run's file was made; wall clock, nanoseconds."""
        return self._store.created

    @property
    def instance_id(self) -> str:
        """The slot's id: the same for a successor in the slot, different from every other slot's of every run."""
        return str(uuid.uuid5(uuid.UUID(bytes=self.bits), f"slot {self.slot}"))

    def begin(self, origin: bytes, span_id: bytes, flags: int, start: int, text: bytes) -> int:
        """Note a running request; return its row, or -1 where all rows are taken.

        Args:
            origin: trace and parent (see `boardfile.REQUEST`).
            span_id: 8 bytes, big-endian.
            flags: of the trace.
            start: wall clock, nanoseconds.
            text: "METHOD path", UTF-8; what is too long is cut off.
        """
        free = self._free
        if not free:  # before it is tried: with so many requests running, no more may come
            return self._miss()
        try:
            row = free.pop()
        except IndexError:  # another thread was quicker
            return self._miss()
        _write_row(self._map, row * ROW, flags, self.pid, 0, origin, span_id, start, b"", text, RUNNING)
        return row

    def _miss(self) -> int:
        self.missed += 1
        self._beyond.append(None)
        return -1

    def end(self, row: int) -> None:
        """Note that a request has ended. Row -1 is none. Not for a child that was forked inside the request: it is its parent's."""
        if self._condemned or row < 0:
            if row > 0:
                self._kept.append(row)
            elif row < 0 and self._beyond:
                self._beyond.pop()
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
        """Note that this process lives, about once a second."""
        U64.pack_into(self._map, HEARTBEAT, time.time_ns())
        U32.pack_into(self._map, BEYOND, len(self._beyond))
        U64.pack_into(self._map, MISSED, self.missed)

    def enlist(self, worker: Enlisted) -> None:
        """Note that this process is a worker of a server, and the span of its life."""
        row = self._store.rows + 1
        if self._map[row * ROW + STATE] != FREE:  # a predecessor's, which nobody has sent yet
            row = self._free.pop() if self._free else 0
        self._worker = row
        raw = worker.text(self.generation)
        if row:
            ids = b"\0" + worker.trace_id.to_bytes(16, "big"), worker.span_id.to_bytes(8, "big")
            _write_row(self._map, row * ROW, worker.flags, self.pid, 0, *ids, worker.start, b"", raw, WORKING)
        self._map[SERVER : SERVER + SERVER_BYTES] = worker.server.encode()[:SERVER_BYTES].ljust(SERVER_BYTES, b"\0")
        U32.pack_into(self._map, LIMIT, worker.limit)
        U32.pack_into(self._map, SUPERVISOR, worker.supervisor)
        U32.pack_into(self._map, FLAGS, WORKER)
        self._count({names.STARTS: 1})

    def booted(self, seconds: float) -> None:
        """Count how long this worker's start took."""
        self._count(names.of_boot(seconds))

    def retire(self, ended: str) -> None:
        """Note that this worker ends cleanly: its span has ended, and only the last flush is to come."""
        flags = Owner.read(self._map[: SLOT.size]).flags
        U32.pack_into(self._map, FLAGS, flags | ENDED | COUNTED)
        self.end(self._worker)
        self._count({names.EXITS + ended: 1})

    def _count(self, numbers: Mapping[str, int]) -> None:
        with contextlib.suppress(OSError):  # the worker's life goes on though its run's file cannot be written
            self.tally.add(numbers)

    def census(self) -> Census:
        """Count the living workers of the run and the requests that they are busy with."""
        self.beat()
        return take(self.slot, bytes(self._map), self._store, self._locks)

    def mark(self, ended: str) -> None:
        """Note how this process is about to end, for whoever finds its rows; none is cleared from now on before `release`."""
        self._condemned = True
        self._map[END : END + END_BYTES] = ended.encode()[:END_BYTES].ljust(END_BYTES, b"\0")

    def leads(self) -> bool:
        """Tell whether this process has the lowest living slot."""
        return all(self._locks.is_free(slot) for slot in range(self.slot))

    def orphans(self) -> list[Orphan]:
        """Return what killed processes left: in this slot, and, if this process leads, in slots whose owner is dead."""
        self._free_left()
        found = list(orphans_of(self.slot, bytes(self._map), self.bits, owner_lives=True))
        if not self.leads():
            return found
        for slot in range(self._store.slots()):
            if slot == self.slot or not self._locks.take(slot):
                continue
            try:
                found += self._left_in(slot)
            finally:
                self._locks.give(slot)
        return found

    def _left_in(self, slot: int) -> list[Orphan]:
        """Return what the dead owner of a slot left; free the slot if that is nothing. Its lock is held."""
        content = self._store.slot(slot)
        if not content or content[0] != RUNNING or deaths.awaits_word(Owner.read(content)):
            return []
        content = deaths.note(slot, content, self._store, self.tally)
        left = list(orphans_of(slot, content, self.bits, owner_lives=False))
        if not left:
            self._store.write(self._store.offset(slot), bytes([FREE]))
        return left

    def claim(self, orphans: Sequence[Orphan]) -> list[Orphan]:
        """Return those of the orphans that are this process's to send, and note that: a slot's new owner finds the same ones."""
        if not orphans:
            return []
        with self._locks.whole():
            return claimed(orphans, self._store, self.pid)

    def settled(self, orphans: Iterable[Orphan]) -> None:
        """Clear the rows of orphans that were delivered; until then they are found again."""
        clear(orphans, self._store)
        self._free_left()

    def _free_left(self) -> None:
        """Use the rows again whose orphans were sent, by this process or by another."""
        cleared = sorted((row for row in self._left if self._map[row * ROW + STATE] == FREE), reverse=True)
        self._left.difference_update(cleared)
        self._free.extend(cleared)

    def leave(self) -> None:
        """Give the slot back at a clean exit."""
        self._map[0] = FREE
        self._locks.give(self.slot)

    def _open(self) -> SlotLocks:
        """Open the lock file, and make the board if this process is the run's first."""
        for _ in range(TRIES):
            locks = SlotLocks(self._store.path.with_suffix(".lock"))
            with locks.whole():
                if not locks.removed():  # by somebody who took the run for dead, between our open and our lock
                    self._store.open(self.service)
                    return locks
            locks.close()  # no slot is held yet
        raise NoScoreboard(f"{self._store.path}: the lock could not be had")

    def _claim(self) -> int:
        for slot in range(self._slots):
            if self._locks.take(slot):
                return slot
        raise NoScoreboard(f"all {self._slots} slots are taken")

    def _begin(self) -> int:
        """Map the slot and write its header over the predecessor's; return the generation."""
        self._map = self._store.reserve(self.slot)
        generation = deaths.succeed(self._map, self.tally).generation + 1
        who, now = (self.pid, runs.start_time(self.pid), runs.namespace()), time.time_ns()
        SLOT.pack_into(self._map, 0, RUNNING, *who, now, now, b"", generation, 0, 0, 0, 0, b"", 0)
        return generation
