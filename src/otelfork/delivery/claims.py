"""Whose files are whose in the spool's directory: a lock file for each process, held for as long as that lives.

The kernel drops a POSIX lock when its owner dies, whatever children it has. Whoever gets the lock of a dead process may send, or
remove, what that left. It must not know what the files hold.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import final

from otelfork import forks

_TRIES = 10
_held: set[tuple[int, str]] = set()
"""Lock files of this process, by pid. Opening one of them once more and closing that would drop the lock."""

_logger = logging.getLogger("otelfork")


@final
class Claim:
    """The right to the files of one process, living or dead: a lock on its lock file."""

    __slots__ = ("_file", "path")

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file

    @classmethod
    def take(cls, path: Path, *, make: bool = False) -> Claim | None:
        """Lock the file, or return None: its owner lives, or it is gone."""
        if (os.getpid(), str(path)) in _held:
            return None
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if make else 0)
        file = os.open(path, flags, 0o600)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = os.fstat(file).st_nlink > 0  # else somebody removed it between our open and our lock
        except OSError:
            taken = False
        if not taken:
            os.close(file)
            return None
        forks.own(file)
        _held.add((os.getpid(), str(path)))
        return cls(path, file)

    def segments(self) -> list[Path]:
        """Return the files of this process, oldest first."""
        numbered = self.path.parent.glob(f"{self.path.stem}.*.spool")
        return sorted(numbered, key=lambda path: int(path.suffixes[-2][1:]))

    def release(self, *, remove: bool) -> None:
        """Give the lock back; `remove` where there is nothing left to be had."""
        if remove:
            self.path.unlink(missing_ok=True)
        _held.discard((os.getpid(), str(self.path)))
        forks.disown(self._file)
        os.close(self._file)


def prefix(service: str) -> str:
    """Return how the names of a service's files begin."""
    return hashlib.sha256(service.encode()).hexdigest()[:12]


def new_claim(directory: Path, begin: str) -> Claim:
    """Make the lock file of this process.

    Raises:
        OSError: it cannot be made.
    """
    for _ in range(_TRIES):
        claim = Claim.take(directory / f"{begin}-{os.urandom(8).hex()}.lock", make=True)
        if claim is not None:
            return claim
    raise OSError(errno.EAGAIN, "no lock file could be had")


def claims_of_the_dead(directory: Path, begin: str) -> Iterator[Claim]:
    """Claim what dead processes of a service left, one after the other."""
    for path in directory.glob(f"{begin}-*.lock"):
        with contextlib.suppress(OSError):  # another survivor was faster
            claim = Claim.take(path)
            if claim is not None:
                yield claim


def left_behind(directory: Path, service: str) -> bool:
    """Tell whether dead processes of a service left something, and leave it where it is: for a master whose workers are gone."""
    for claim in claims_of_the_dead(directory, prefix(service)):
        found = any(_size(path) for path in claim.segments())
        claim.release(remove=False)
        if found:
            return True
    return False


def expire(directory: Path, *, older_than: float) -> None:
    """Remove what dead processes of any service left and nobody has touched for so many seconds: nobody comes for it."""
    removed = 0
    for claim in claims_of_the_dead(directory, "*"):
        files = claim.segments()
        newest = max((_changed(path) for path in (claim.path, *files)), default=0.0)
        old = newest < time.time() - older_than
        for path in files if old else ():
            path.unlink(missing_ok=True)
            removed += 1
        claim.release(remove=old)
    if removed:
        _logger.warning(
            "the spool %s: %d files of services that did not come back within OTELFORK_SPOOL_MAX_AGE are removed",
            directory,
            removed,
        )


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    """Return the bytes of a file behind its first eight, which name its format."""
    try:
        return max(0, path.stat().st_size - 8)
    except OSError:
        return 0


def make_directory(directory: Path) -> None:
    """Make the directory with mode 0700.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not directory.is_dir() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(
            errno.EPERM, f"{directory} belongs to another user or is open to others; it has to be ours, with mode 0700"
        )
