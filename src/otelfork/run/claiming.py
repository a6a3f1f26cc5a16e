"""Whose an orphan is to send: the leading process finds what is in the slot of a dead one, and so does that slot's next owner."""

from __future__ import annotations

import time
from collections.abc import Iterable

from otelfork.run.boardfile import CLAIM, FREE, REQUEST, ROW, ROW_CLAIM, STATE, Orphan
from otelfork.run.store import Store

CLAIM_SECONDS = 15
"""How long who has begun to send an orphan is waited for: longer than an exporter tries."""


def claimed(orphans: Iterable[Orphan], store: Store, pid: int) -> list[Orphan]:
    """Return those that nobody else has sent or is about to send, and note that this process is. For one process at a time."""
    now = int(time.time())
    found = []
    for orphan in orphans:
        sender, since, waits = _state(orphan, store)
        if waits and (sender in {0, pid} or not 0 <= now - since < CLAIM_SECONDS):
            store.write(_offset(orphan, store) + ROW_CLAIM, CLAIM.pack(pid, now))
            found.append(orphan)
    return found


def clear(orphans: Iterable[Orphan], store: Store) -> None:
    """Clear the rows of orphans that were delivered."""
    for orphan in orphans:
        if _state(orphan, store)[2]:
            store.write(_offset(orphan, store) + STATE, bytes([FREE]))


def _offset(orphan: Orphan, store: Store) -> int:
    return store.offset(orphan.slot) + orphan.row * ROW


def _state(orphan: Orphan, store: Store) -> tuple[int, int, bool]:
    """Return who sends an orphan, since when, and whether its row still has it: else it was cleared, and may be in use again."""
    row = REQUEST.unpack(store.read(_offset(orphan, store), REQUEST.size))
    *_, span, _, _, _, sender, since, state = row
    return sender, since, state != FREE and int.from_bytes(span, "big") == orphan.span_id
