"""What a run has counted: numbers by name in the header page of its board, which outlive every process of the run.

Any process of the run may add, and so may its master. They are rare events (a worker starts, a worker ends), so each takes a lock:
flock on the board file, which nothing else locks, and which harms no POSIX lock of the lock file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import final

from otelfork.run.boardfile import PAGE, TALLY, text
from otelfork.run.locks import TRIES

_ENTRY = struct.Struct("<24sQQ")  # name, value, of which told (see `told`)
_ENTRIES = (PAGE - TALLY) // _ENTRY.size
_REST = b"other"


@final
class Tally:
    """The numbers of one run."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, numbers: Mapping[str, int]) -> None:
        """Add to the numbers; a name that is new begins at zero. Past the last place everything new is `other`.

        Raises:
            OSError: the file cannot be used, or its lock could not be had for a tenth of a second.
        """
        with self._locked() as board:
            places = dict(_places(board))
            for name, number in numbers.items():
                raw = name.encode()[:24].ljust(24, b"\0")
                if raw not in places and len(places) >= _ENTRIES - 1:
                    raw = _REST.ljust(24, b"\0")
                place, value, told = places.get(raw, (len(places), 0, 0))
                places[raw] = (place, value + number, told)
                os.pwrite(board, _ENTRY.pack(raw, value + number, told), TALLY + place * _ENTRY.size)

    def read(self) -> dict[str, int]:
        """Return the numbers."""
        return {name: value for name, (value, _) in self._all().items()}

    def told(self) -> dict[str, int]:
        """Return the part of the numbers that was exported as differences: where whoever exports next goes on."""
        return {name: told for name, (_, told) in self._all().items()}

    def tell(self, numbers: Mapping[str, int]) -> None:
        """Note the numbers up to which differences were exported."""
        with self._locked() as board:
            for raw, (place, value, told) in _places(board):
                now = max(told, min(value, numbers.get(text(raw), 0)))
                os.pwrite(board, _ENTRY.pack(raw, value, now), TALLY + place * _ENTRY.size)

    def _all(self) -> dict[str, tuple[int, int]]:
        board = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return {text(raw): (value, told) for raw, (_, value, told) in _places(board)}
        finally:
            os.close(board)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        board = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for attempt in range(TRIES):
                try:
                    fcntl.flock(board, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if attempt == TRIES - 1:
                        raise
                    time.sleep(0.001)
            yield board
        finally:
            # Said and not left to the closing: a child forked at this moment has the descriptor too.
            with contextlib.suppress(OSError):
                fcntl.flock(board, fcntl.LOCK_UN)
            os.close(board)


def _places(board: int) -> Iterator[tuple[bytes, tuple[int, int, int]]]:
    """Return name, place, value and what was told of each number."""
    content = os.pread(board, _ENTRIES * _ENTRY.size, TALLY)
    whole = len(content) // _ENTRY.size * _ENTRY.size
    for place, (raw, value, told) in enumerate(_ENTRY.iter_unpack(content[:whole])):
        if not raw.rstrip(b"\0"):
            return
        yield raw, (place, value, told)
