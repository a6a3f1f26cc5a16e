"""Whose an orphan is to send: the leading process finds what is in the slot of a dead one, and so does that slot's next owner."""

from __future__ import annotations

import time
from collections.abc import Iterable

from otelfork.run.boardfile import CLAIM, FREE, REQUEST, ROW, ROW_CLAIM, Orphan
from otelfork.run.store import Store

CLAIM_SECONDS = 15
"""How long who has begun to send an orphan is waited for: longer than an exporter tries."""


def claimed(orphans: Iterable[Orphan], store: Store, pid: int) -> list[Orphan]:
    """Return those that nobody else has sent or is about to send, and note that this process is. For one process at a time."""
    return [orphan for orphan in orphans if _claim(orphan, store, pid, int(time.time()))]


def _claim(orphan: Orphan, store: Store, pid: int, now: int) -> bool:
    offset = store.offset(orphan.slot) + orphan.row * ROW
    *_, span, _, _, _, sender, since, state = REQUEST.unpack(store.read(offset, REQUEST.size))
    if state == FREE or int.from_bytes(span, "big") != orphan.span_id:
        return False
    if sender not in {0, pid} and 0 <= now - since < CLAIM_SECONDS:
        return False
    store.write(offset + ROW_CLAIM, CLAIM.pack(pid, now))
    return True
