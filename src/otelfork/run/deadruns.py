"""The files of runs that have no living process any more: what they left is handed over, then they are removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from otelfork.run.boardfile import Orphan, read_dead

_LEFT_TO_OTHERS_SECONDS = 3600.0


def dead_runs(directory: Path, keep: str, service: str, handle: Callable[[list[Orphan]], bool]) -> None:
    """Hand over the orphans of each run of this service that has no living process; remove its files once that succeeded.

    Files of another service's dead run are left to that service for an hour.
    """
    for path in directory.glob("*.lock"):
        if path.stem == keep:
            continue
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # All bytes at once: nobody makes, claims or removes, and nobody lives.
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                board = path.with_suffix(".board")
                found, owner = read_dead(board.read_bytes() if board.exists() else b"")
                ours = owner == service
                if found and not ours and time.time() - path.stat().st_mtime < _LEFT_TO_OTHERS_SECONDS:
                    continue
                if not ours or not found or handle(found):
                    for file in directory.glob(f"{path.stem}.*"):  # the board, and what its slots have counted
                        if file != path:
                            file.unlink(missing_ok=True)
                    path.unlink()
            finally:
                os.close(lock)


def has_orphans(board: Path) -> bool:
    """Tell whether a board holds requests of processes that are dead now; for a parent whose children are all gone."""
    with contextlib.suppress(OSError):
        return bool(read_dead(board.read_bytes())[0])
    return False
