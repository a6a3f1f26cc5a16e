"""Tells a process from its children at the price of reading a byte: for those who ask on the request path.

It knows nothing of generations.
"""

from __future__ import annotations

import mmap
import os
from typing import Protocol

_WIPE_ON_FORK = 18
"""MADV_WIPEONFORK of Linux 4.14 and later (madvise(2)), which Python has no name for."""


class Seal(Protocol):
    """Two numbers from 0 to 255 that are 0 in every child of the process that made it.

    The first is 1 in the process itself. The second is for whoever made the seal: what it counts there others compare.
    """

    def __getitem__(self, index: int, /) -> int:
        """Return a number, or 0 in a child."""

    def __setitem__(self, index: int, number: int, /) -> None:
        """Set a number."""


class ByPid:
    """The seal where the system has no page that a fork empties."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._numbers = bytearray((1, 0))

    def __getitem__(self, index: int) -> int:
        return self._numbers[index] if os.getpid() == self._pid else 0

    def __setitem__(self, index: int, number: int) -> None:
        self._numbers[index] = number


def seal() -> Seal:
    """Return a seal of this process: a byte of memory that is zero in every child, one made by a fork in C too.

    `getpid` is a system call, 150 nanoseconds; reading the byte takes 20, and a request asks several times.
    """
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError, TypeError):
        return ByPid()
    page[0] = 1
    return page
