"""One file of the spool: encoded batches behind each other, each with a checksum and a byte that says how far it has come.

A write that was cut off, by a kill or a full disk, is recognised and skipped. It knows no telemetry.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from otelfork import forks

MAGIC = b"otelfsp1"
_MARK = b"\xf0SPL"
_HEADER = struct.Struct("<4sBBxxIQII")  # mark, state, kind, records, written (ns, wall clock), length, checksum
_CHECKED = struct.Struct("<BIQI")  # kind, records, written, length: under the checksum, with the content
_STATE = 4
WAITING, SENDING, DONE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch in a segment."""

    offset: int
    state: int
    kind: int
    count: int
    """Records in the batch."""
    written: int
    """Wall clock, nanoseconds."""
    length: int
    checksum: int

    @property
    def end(self) -> int:
        """Where the next entry begins."""
        return self.offset + _HEADER.size + self.length


@final
class Segment:
    """An open file of the spool.

    Raises:
        OSError: it cannot be opened, read or written; `append` leaves the file as it was.
    """

    __slots__ = ("_file", "_start", "own", "path", "size")

    def __init__(self, path: Path, *, own: bool) -> None:
        self.path = path
        self.own = own
        """Whether this process writes it."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if own else 0)
        self._file = os.open(path, flags, 0o600)
        forks.own(self._file)
        self.size = os.fstat(self._file).st_size
        self._start = len(MAGIC)
        """Everything before it is done."""
        if own:
            try:
                self._write(MAGIC, 0)
            except OSError:
                self.remove()
                raise

    @property
    def open(self) -> bool:
        """Whether it can still be used."""
        return self._file >= 0

    def append(self, kind: int, count: int, content: bytes, written: int) -> None:
        """Write a batch behind the others, whole or not at all."""
        length = len(content)
        checksum = zlib.crc32(content, zlib.crc32(_CHECKED.pack(kind, count, written, length)))
        head = _HEADER.pack(_MARK, WAITING, kind, count, written, length, checksum)
        self._write(head + content, self.size)

    def entries(self) -> Iterator[Entry]:
        """Yield what is not done, oldest first; what is broken is passed over."""
        offset = self._start
        while offset < self.size:
            entry = self._entry(offset)
            if entry is None:
                offset = self._next_mark(offset + 1)
                continue
            if entry.state != DONE:
                yield entry
            elif offset == self._start:
                self._start = entry.end
            offset = entry.end

    def read(self, entry: Entry) -> bytes | None:
        """Return a batch; None where its checksum says that it is not what was written."""
        content = os.pread(self._file, entry.length, entry.offset + _HEADER.size)
        head = _CHECKED.pack(entry.kind, entry.count, entry.written, entry.length)
        return content if zlib.crc32(content, zlib.crc32(head)) == entry.checksum else None

    def mark(self, entry: Entry, state: int) -> None:
        """Note how far a batch has come."""
        if self.open:
            os.pwrite(self._file, bytes((state,)), entry.offset + _STATE)

    def clear(self) -> None:
        """Begin anew: everything in it is done."""
        os.ftruncate(self._file, len(MAGIC))
        self.size = self._start = len(MAGIC)

    def remove(self) -> None:
        """Delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and leave it to whoever comes next."""
        if self.open:
            forks.disown(self._file)
            os.close(self._file)
            self._file = -1

    def _write(self, content: bytes, offset: int) -> None:
        written = 0
        try:
            written = os.pwrite(self._file, content, offset)
        finally:
            if written < len(content):
                os.ftruncate(self._file, offset)
        if written < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.size = offset + len(content)

    def _entry(self, offset: int) -> Entry | None:
        head = os.pread(self._file, _HEADER.size, offset)
        if len(head) < _HEADER.size:
            return None
        mark, state, kind, count, written, length, checksum = _HEADER.unpack(head)
        entry = Entry(offset, state, kind, count, written, length, checksum)
        return entry if mark == _MARK and entry.end <= self.size else None

    def _next_mark(self, offset: int) -> int:
        found = os.pread(self._file, self.size - offset, offset).find(_MARK)
        return offset + found if found >= 0 else self.size
