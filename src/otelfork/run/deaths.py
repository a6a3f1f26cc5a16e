"""How a process of the run ended, found out by whoever comes upon its slot, and counted once.

Only its parent is told by the kernel. What is known otherwise: what the process itself noted before it died, what a master with
code of ours noted (see `notes`), and that a server kills a worker whose request takes longer than it allows.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from typing import TYPE_CHECKING

from otelfork.run import names
from otelfork.run.boardfile import (
    COUNTED,
    END,
    END_BYTES,
    FLAGS,
    LOST,
    ORPHANED,
    ROW_END,
    ROW_HEARTBEAT,
    RUNNING,
    STATE,
    U32,
    U64,
    WORKER,
    WORKING,
    Owner,
    places_of_rows,
    running,
)
from otelfork.run.ends import TIMEOUT, UNKNOWN

if TYPE_CHECKING:
    from otelfork.run.store import Store
    from otelfork.run.tally import Tally

_LEFT = {RUNNING: ORPHANED, WORKING: LOST}
_SECOND = 1_000_000_000
_BEAT = 6 * _SECOND // 5
"""A process that beats has beaten within so long before its death. More would take an early death for an overdue one."""
_MASTERS_WORD = 3 * _SECOND
"""How long after the last heartbeat a supervised worker's death waits for what the master has to say."""


def how(owner: Owner, content: bytes) -> str:
    """Return how a dead owner ended; "" for unknown."""
    if owner.ended or not owner.limit:
        return owner.ended
    now = time.time_ns()
    # Without threads (uWSGI without --enable-threads) nobody beats: the finder's moment is the best there is.
    died = now if owner.heartbeat <= owner.begun else min(now, owner.heartbeat + _BEAT)
    # In whole seconds, as uWSGI counts them: what began late in one of them has nearly a second less.
    overdue = any(died // _SECOND - start // _SECOND >= owner.limit for start in running(content))
    return TIMEOUT if overdue else ""


def awaits_word(owner: Owner) -> bool:
    """Tell whether a death is so fresh that the master may not have said yet how it came.

    The master itself waits for nobody, when it looks at its end; and a dead one says nothing any more.
    """
    if not owner.supervisor or owner.ended or owner.supervisor == os.getpid():
        return False
    return time.time_ns() - owner.heartbeat < _MASTERS_WORD and _lives(owner.supervisor)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True


def count(owner: Owner, ended: str, tally: Tally) -> None:
    """Count how a worker ended, unless that was done."""
    if owner.flags & WORKER and not owner.flags & COUNTED:
        with contextlib.suppress(OSError):
            tally.add({names.EXITS + (ended or UNKNOWN): 1})


def note(slot: int, content: bytes, store: Store, tally: Tally) -> bytes:
    """Note in another's slot, whose lock is held, how its dead owner ended; return the slot's content as it is now."""
    owner = Owner.read(content)
    if owner.flags & COUNTED:
        return content
    ended = how(owner, content)
    count(owner, ended, tally)
    offset = store.offset(slot)
    store.write(offset + END, ended.encode().ljust(END_BYTES, b"\0"))
    store.write(offset + FLAGS, U32.pack(owner.flags | COUNTED))
    return store.slot(slot)


def succeed(mapped: mmap.mmap, tally: Tally) -> Owner:
    """Write a predecessor's end into its rows, before its slot header is overwritten; return the predecessor."""
    content = bytes(mapped)
    owner = Owner.read(content)
    if owner.state != RUNNING:
        return owner
    ended = how(owner, content)
    count(owner, ended, tally)
    for start in places_of_rows(len(mapped)):
        left = _LEFT.get(mapped[start + STATE])
        if left is not None:
            mapped[start + STATE] = left
            U64.pack_into(mapped, start + ROW_HEARTBEAT, owner.heartbeat)
            mapped[start + ROW_END : start + ROW_END + END_BYTES] = ended.encode().ljust(END_BYTES, b"\0")
    return owner
