"""The byte locks by which slots are claimed: the kernel drops them when their process dies, whatever children it has.

They are POSIX locks: they go, too, when their process closes any descriptor of the lock file. So each process opens it once, here,
and nothing else of ours opens it while it holds a slot (`tally` and `notes` lock and read the board file instead).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import final

from otelfork import forks

TRIES = 100


@final
class SlotLocks:
    """The lock file of a run, open. Byte 0 guards making and removing the run's files, byte 1 + n is slot n's."""

    __slots__ = ("descriptor",)

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        forks.own(self.descriptor)

    def close(self) -> None:
        """Close it, and with that give up every lock that this process has in the file."""
        forks.disown(self.descriptor)
        os.close(self.descriptor)

    def removed(self) -> bool:
        """Tell whether somebody has removed the file, as that of a dead run, since it was opened."""
        return not os.fstat(self.descriptor).st_nlink

    def take(self, slot: int) -> bool:
        """Lock a slot unless it is another process's. One's own is no other's: ask before for that."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 + slot)
        except OSError:
            return False
        return True

    def give(self, slot: int) -> None:
        """Unlock a slot."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, 1 + slot)

    def is_free(self, slot: int) -> bool:
        """Tell whether no living process has the slot. Not to be asked of one's own."""
        if not self.take(slot):
            return False
        self.give(slot)
        return True

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Hold byte 0; others hold it for microseconds."""
        for attempt in range(TRIES):
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
                break
            except OSError:
                if attempt == TRIES - 1:
                    raise
                time.sleep(0.001)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, 0)
