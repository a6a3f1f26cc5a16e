"""The living workers of a run at one moment, as one of them sees them."""

from __future__ import annotations

from dataclasses import dataclass

from otelfork.run.boardfile import ENDED, RUNNING, SLOT, WORKER, Owner, running
from otelfork.run.locks import SlotLocks
from otelfork.run.store import Store


@dataclass(frozen=True, slots=True)
class Census:
    """How many workers there are, those that are about to leave not counted, and how many requests all are busy with."""

    busy: int
    idle: int
    requests: int
    first: bool
    """Whether the worker that asked is the one to report for all: the living one with the lowest slot, or the last to leave."""


def take(own: int, content: bytes, store: Store, locks: SlotLocks) -> Census:
    """Count the living workers.

    Args:
        own: the slot of the one that asks, whose lock it holds.
        content: that slot's content.
        store: the board.
        locks: its locks.
    """
    living = {slot: found for slot in range(store.slots()) if slot != own and (found := _living(slot, store, locks))}
    living[own] = content
    requests = {slot: len(running(found)) + Owner.read(found).beyond for slot, found in living.items()}
    staying = {slot for slot, found in living.items() if not Owner.read(found).flags & ENDED}
    busy = sum(1 for slot in staying if requests[slot])
    first = min(staying) == own if staying else True
    return Census(busy, len(staying) - busy, sum(requests.values()), first)


def _living(slot: int, store: Store, locks: SlotLocks) -> bytes:
    """Return a living worker's slot; nothing for another process's, or a dead one's."""
    header = store.read(store.offset(slot), SLOT.size)
    if len(header) < SLOT.size or header[0] != RUNNING or not Owner.read(header).flags & WORKER:
        return b""
    return b"" if locks.is_free(slot) else store.slot(slot)
