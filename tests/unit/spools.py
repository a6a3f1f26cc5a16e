"""Spools of tests: what a killed process left in one, what is taken from one, and a disk that is full."""

from __future__ import annotations

import errno
import os
import signal

from tests.fresh import outcome

from otelfork.delivery import segment as segment_module

DEAD = """
    import os, sys
    from pathlib import Path
    from otelfork.delivery.spool import Spool
    spool = Spool(Path({directory!r}), "shop", max_bytes={max_bytes}, max_age=1000, lost=print)
    for number in range({count}):
        spool.put(1, 1, b"batch %d" % number)
    {more}
    os.kill(os.getpid(), 9)
"""


def died(directory, count=3, more="", max_bytes=1 << 20):
    """Let a process write so many batches of one record each and be killed."""
    script = DEAD.format(directory=str(directory), count=count, more=more, max_bytes=max_bytes)
    status, _, errors = outcome(script, recording=False)
    assert status == -signal.SIGKILL, errors


def taken(spool, count=1000):
    """Take and settle everything; return the batches in order."""
    found = []
    while (load := spool.take(1, count, 1 << 20)) is not None:
        found += load.packed
        spool.settle(load)
    return found


def full_disk(monkeypatch, room):
    """Let the disk take so many bytes more."""
    left = [room]
    write = os.pwrite

    def pwrite(file, content, offset):
        if len(content) > 1 and left[0] < len(content):
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content, left[0] = content[: left[0]], 0
        elif len(content) > 1:
            left[0] -= len(content)
        return write(file, content, offset)

    monkeypatch.setattr(segment_module.os, "pwrite", pwrite)
