"""The spool: encoded batches on disk until the collector has taken them, so that neither a kill nor an outage costs them.

Each process writes files of its own (see `claims`). Whoever claims those of a dead process sends what that left, oldest first.

A batch is marked before it is sent and after it was taken. One that was under way when its process died may have arrived: it is
sent again with the same ids, and counted. A full disk costs what is written here, and nothing else. It must not know what a
batch holds.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from otelfork.delivery.claims import Claim, claims_of_the_dead, expire, make_directory, new_claim, prefix
from otelfork.delivery.segment import DONE, MAGIC, SENDING, WAITING, Entry, Segment

_PARTS = 8
"""Files of a full spool: the oldest is given up as a whole."""
_PAUSE_SECONDS = 1.0
"""Between two tries to write after one that failed."""
_LOOK_SECONDS = 1.0
_SWEEP_SECONDS = 3600.0
Lost = Callable[[int, str, int], None]
"""Is told of batches that are given up: kind, reason, records."""


@dataclass(frozen=True, slots=True)
class Load:
    """Batches that are sent together."""

    entries: list[tuple[Segment, Entry]] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Records in it."""
        return sum(entry.count for _, entry in self.entries)

    @property
    def size(self) -> int:
        """Bytes of it."""
        return sum(map(len, self.packed))


@final
class Spool:
    """What waits on disk: this process's batches, and those of dead ones. Safe to use from several threads.

    Args:
        directory: made with mode 0700; refused if it belongs to somebody else.
        service: whose batches these are; those of other services are left alone.
        max_bytes: of this process's files.
        max_age: seconds after which a batch is given up.
        lost: is told of batches that are given up.

    Raises:
        OSError: the directory cannot be used.
    """

    def __init__(self, directory: Path, service: str, *, max_bytes: int, max_age: float, lost: Lost) -> None:
        make_directory(directory)
        self._directory = directory
        self._prefix = prefix(service)
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._lost = lost
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        """Oldest first: those of the dead, then ours, of which the last is written."""
        self._claims: dict[Claim, list[Segment]] = {}
        self._claim: Claim | None = None
        self._number = 0
        self._waiting: Counter[int] = Counter()
        self._not_before = 0.0
        self._look_at = self._sweep_at = 0.0
        self.repeated = 0
        """Records sent by us that their dead process may have sent too."""
        self.inherited = 0
        """Records of dead processes that were found."""
        self.problem = ""
        """Why the last write failed; empty after one that did not."""

    def waiting(self, kind: int) -> int:
        """Return how many records of a kind wait."""
        return self._waiting[kind]

    def put(self, kind: int, count: int, content: bytes) -> bool:
        """Write a batch; tell whether it is safe now."""
        if time.monotonic() < self._not_before:
            return False
        with self._lock:
            try:
                self._room_for(len(content)).append(kind, count, content, time.time_ns())
            except OSError as error:
                self.problem = f"{self._directory}: {error.strerror or error}"
                self._not_before = time.monotonic() + _PAUSE_SECONDS
                return False
            self.problem = ""
            self._waiting[kind] += count
            return True

    def take(self, kind: int, max_count: int, max_bytes: int) -> Load | None:
        """Return the oldest batches of a kind, at least one and within the bounds otherwise; None where none waits."""
        oldest = time.time_ns() - int(self._max_age * 1e9)
        load = Load()
        with self._lock:
            for segment, entry in self._entries(kind):
                if load.entries and (load.count + entry.count > max_count or load.size + entry.length > max_bytes):
                    break
                content = segment.read(entry) if entry.written >= oldest else None
                if content is None:
                    self._give_up(segment, entry, "spool_expired" if entry.written < oldest else "spool_corrupt")
                    continue
                if entry.state == SENDING:
                    self.repeated += entry.count
                segment.mark(entry, SENDING)
                load.entries.append((segment, entry))
                load.packed.append(content)
            self._tidy()
        return load if load.entries else None

    def settle(self, load: Load) -> None:
        """Note that a load is done with: taken by the collector, or refused for good."""
        with self._lock:
            for segment, entry in load.entries:
                if segment.open:
                    segment.mark(entry, DONE)
                    self._waiting[entry.kind] -= entry.count
            self._tidy()

    def keep(self, load: Load) -> None:
        """Note that a load was not taken and waits on."""
        with self._lock:
            for segment, entry in load.entries:
                segment.mark(entry, WAITING)

    def adopt(self, *, last: bool = False) -> None:
        """Take over what dead processes of this service left; looks once a second at the most, and whenever it may be the last."""
        now = time.monotonic()
        if now < self._look_at and not last:
            return
        self._look_at = now + _LOOK_SECONDS
        with self._lock:
            for claim in claims_of_the_dead(self._directory, self._prefix):
                with contextlib.suppress(OSError):  # a file that cannot be read is left to whoever can
                    self._inherit(claim)
            self._tidy()
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            expire(self._directory, older_than=self._max_age)

    def close(self) -> None:
        """Let go of all files; what is in them is for whoever comes next."""
        with self._lock:
            self._tidy()
            for segment in self._segments:
                if segment.own and not self._pending(segment):
                    segment.remove()
                segment.close()
            for claim in (*self._claims, *([self._claim] if self._claim else [])):
                claim.release(remove=not claim.segments())
            self._segments, self._claims, self._claim = [], {}, None
            self._waiting.clear()

    def _entries(self, kind: int) -> Iterator[tuple[Segment, Entry]]:
        for segment in list(self._segments):
            for entry in segment.entries():
                if entry.kind == kind:
                    yield segment, entry

    def _room_for(self, length: int) -> Segment:
        """Return the segment to write to, after the oldest ones have made room."""
        own = [segment for segment in self._segments if segment.own]
        if length > self._max_bytes // 2:
            raise OSError(errno.EFBIG, "a batch of more than half of OTELFORK_SPOOL_MAX_BYTES")
        if own and own[-1].size + length <= self._max_bytes // _PARTS:
            return own[-1]
        while own and sum(segment.size for segment in own) + length > self._max_bytes:
            self._drop(own.pop(0))
        if self._claim is None:
            self._claim = new_claim(self._directory, self._prefix)
        self._number += 1
        made = Segment(self._claim.path.with_suffix(f".{self._number}.spool"), own=True)
        self._segments.append(made)
        return made

    def _inherit(self, claim: Claim) -> None:
        try:
            found = [Segment(path, own=False) for path in claim.segments()]
        except OSError:
            claim.release(remove=False)
            raise
        self._claims[claim] = found
        at = next((n for n, segment in enumerate(self._segments) if segment.own), len(self._segments))
        self._segments[at:at] = found
        for segment in found:
            for entry in segment.entries():
                self._waiting[entry.kind] += entry.count
                self.inherited += entry.count

    def _give_up(self, segment: Segment, entry: Entry, reason: str) -> None:
        segment.mark(entry, DONE)
        self._waiting[entry.kind] -= entry.count
        self._lost(entry.kind, reason, entry.count)

    def _drop(self, segment: Segment) -> None:
        for entry in segment.entries():
            self._give_up(segment, entry, "spool_full")
        self._segments.remove(segment)
        segment.remove()

    def _tidy(self) -> None:
        """Remove the files in which everything is done; the one that is written begins anew."""
        for segment in list(self._segments):
            if self._pending(segment):
                continue
            if segment.own and segment is self._segments[-1]:
                if segment.size > len(MAGIC):
                    segment.clear()
                continue
            self._segments.remove(segment)
            segment.remove()
        for claim, segments in list(self._claims.items()):
            if not any(segment.open for segment in segments):
                del self._claims[claim]
                claim.release(remove=True)

    @staticmethod
    def _pending(segment: Segment) -> bool:
        return next(segment.entries(), None) is not None
