"""How the scoreboard's file is laid out, and how what the dead left in it is read.

A header page with the run's tally (see `tally`), then the slots, whole pages each: a header row and request rows of 288 bytes. The
last row is the worker's own: it holds the span of the worker itself in the form of a request, "server generation" for the method
and path.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from otelfork.senders import SPAN, TRACE

MAGIC = b"otelfrk5"
"""Changes with the layout. It is part of a run's key, so that two layouts never meet in one file."""
PAGE = 4096
ROW = 288
HEADER = struct.Struct(
    "<8s16sIIQ128s"
)  # magic, random bits of the run, rows per slot, slot size, created (ns), service
TALLY = 1024  # offset in the header page
SLOT = struct.Struct("<IIQQQQ16sIIIIQ16sI")
"""State, pid, start time (ticks), pid namespace, begun (ns), heartbeat (ns), how it ended, generation, flags, limit (seconds),
requests beyond the rows at this moment, and ever, server, pid of the master that will say how the owner ended."""
TEXT_BYTES = 176
END_BYTES = SERVER_BYTES = 16
REQUEST = struct.Struct(f"<BIQ55s8sQ{END_BYTES}s{TEXT_BYTES}sIIB")
"""Flags, pid, heartbeat (set by the finder), origin, span, start, how it ended (set by the finder), "METHOD path", who sends it in
its stead (pid; 0 for nobody) and since when (seconds since the epoch), state.

The origin is the sender as it came (see `senders`), or a zero with the trace id and, where there is one, the parent's id.
The state comes last: a row whose writer was killed half-way is a free row."""
BEGUN_REQUEST = struct.Struct(f"<BIQ55s8sQ{END_BYTES}s{TEXT_BYTES}s8xB")
"""The same for who begins it: nobody has claimed it yet."""
U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
BEGUN = 24  # offsets in the slot header
HEARTBEAT = 32
END = 40
FLAGS = 60
LIMIT = 64
BEYOND = 68
MISSED = 72
SERVER = 80
SUPERVISOR = 96
ROW_HEARTBEAT = 5
CLAIM = struct.Struct("<II")
"""Who sends a row, and since when."""
ROW_CLAIM = REQUEST.size - 1 - CLAIM.size
ROW_END = ROW_CLAIM - TEXT_BYTES - END_BYTES

FREE, RUNNING, ORPHANED = 0, 1, 2
WORKING, LOST = 3, 4
"""States of the row that holds the span of the worker itself: as RUNNING and ORPHANED are a request's."""
STATE = REQUEST.size - 1

WORKER = 1
"""Flag of a slot: its owner is a worker of a server."""
ENDED = 2
"""Flag of a slot: the worker's span has ended, and only the last flush is to come."""
COUNTED = 4
"""Flag of a slot: how its owner ended stands in the tally."""
SAMPLED = 1
"""Flag of a row: the span is to be sent."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What a slot's header tells of the process that has it, or had it."""

    state: int
    pid: int
    start_time: int
    namespace: int
    begun: int
    heartbeat: int
    ended: str
    generation: int
    flags: int
    limit: int
    """Seconds after which its server kills a worker for the request that it is busy with; 0 for never, or not known."""
    beyond: int
    missed: int
    server: str
    supervisor: int
    """Pid of a master with code of ours, which will say how the owner ended; 0 for none."""

    @classmethod
    def read(cls, content: bytes) -> Owner:
        """Read the header at the beginning of a slot's content."""
        state, pid, ticks, space, begun, beat, end, *numbers, server, supervisor = SLOT.unpack_from(content)
        generation, flags, limit, beyond, missed = numbers
        ended, named = text(end), text(server)
        return cls(
            state, pid, ticks, space, begun, beat, ended, generation, flags, limit, beyond, missed, named, supervisor
        )


@dataclass(frozen=True, slots=True)
class Enlisted:
    """What a worker has noted of itself when it begins."""

    server: str
    trace_id: int
    """Of the span of its life, as the next three."""
    span_id: int
    flags: int
    start: int
    """Wall clock, nanoseconds."""
    supervisor: int = 0
    """Pid of a master that will note how it ended; 0 for none."""
    limit: int = 0
    """Seconds after which the server kills it for the request that it is busy with; 0 for never, or not known."""
    own_id: int | None = None
    """The number that the server itself gives it."""

    def text(self, generation: int) -> bytes:
        """Return what stands in its row in the place of a request's method and path."""
        number = "" if self.own_id is None else f" {self.own_id}"
        return f"{self.server[:64]} {generation}{number}".encode()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A request whose worker was killed, or that worker itself, as its row told."""

    slot: int
    row: int
    trace_id: int
    span_id: int
    parent_id: int
    sampled: bool
    start: int
    """Wall clock, nanoseconds."""
    heartbeat: int
    """When the worker was last known to live; wall clock, nanoseconds."""
    pid: int
    method: str
    path: str
    ended: str
    """How the worker ended, as far as anybody noted it; empty for unknown."""
    bits: bytes = b""
    """Random bits of its run."""
    worker: bool = False
    """Whether this is the worker itself; `method` is its server then, `path` its generation."""


_OWN, _LEFT, _WORKERS = (RUNNING, WORKING), (ORPHANED, LOST), (WORKING, LOST)


def text(raw: bytes) -> str:
    """Return what a field of fixed length says."""
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def places_of_rows(size: int) -> range:
    """Return where the rows are in a slot of so many bytes, which are whole pages and not always whole rows."""
    return range(ROW, size - ROW + 1, ROW)


def _ids(origin: bytes) -> tuple[int, int]:
    """Return trace id and parent id; 0 for no parent, and twice 0 for what nobody wrote whole."""
    if not origin[0]:
        return int.from_bytes(origin[1:17], "big"), int.from_bytes(origin[17:25], "big")
    try:
        return int(origin[TRACE], 16), int(origin[SPAN], 16)
    except ValueError:  # a row may lie on two pages, of which a machine that went down has kept one
        return 0, 0


def orphans_of(slot: int, content: bytes, bits: bytes, *, owner_lives: bool) -> Iterator[Orphan]:
    """Return what a slot's dead owner, or one before it, left: the requests that it was busy with, and itself."""
    owner = Owner.read(content)
    for row, place in enumerate(places_of_rows(len(content)), 1):
        flags, pid, beat, origin, span, start, end, raw, *_, state = REQUEST.unpack_from(content, place)
        if state in _LEFT or (state in _OWN and not owner_lives):
            method, _, path = text(raw).partition(" ")
            trace, parent = _ids(origin)
            if not trace:
                continue
            yield Orphan(
                slot=slot,
                row=row,
                trace_id=trace,
                span_id=int.from_bytes(span, "big"),
                parent_id=parent,
                sampled=bool(flags & SAMPLED),
                start=start,
                heartbeat=beat if state in _LEFT else owner.heartbeat,
                pid=pid,
                method=method,
                path=path,
                ended=text(end) if state in _LEFT else owner.ended,
                bits=bits,
                worker=state in _WORKERS,
            )


def running(content: bytes) -> list[int]:
    """Return the start (wall clock, nanoseconds) of each request that a slot's owner is, or was, busy with."""
    places = places_of_rows(len(content))
    return [REQUEST.unpack_from(content, at)[5] for at in places if content[at + STATE] == RUNNING]


def in_requests(content: bytes) -> set[int]:
    """Return the processes that are busy with a request at this moment, of a whole file."""
    slots = (slot for slot in _slots(content) if slot[0] == RUNNING)
    return {Owner.read(slot).pid for slot in slots if running(slot)}


def _slots(content: bytes) -> list[bytes]:
    """Return the slots of a whole file; none of another layout's."""
    if len(content) < PAGE or not content.startswith(MAGIC):
        return []
    size = HEADER.unpack_from(content)[3]
    return [content[at : at + size] for at in range(PAGE, len(content), size) if len(content) >= at + size]


def read_dead(content: bytes) -> tuple[list[Orphan], str]:
    """Return the orphans of a whole file whose processes are all dead, and the service; nothing of another layout's."""
    if len(content) < PAGE or not content.startswith(MAGIC):
        return [], ""
    _, bits, _, _, _, service = HEADER.unpack_from(content)
    found = [
        orphan
        for slot, part in enumerate(_slots(content))
        for orphan in orphans_of(slot, part, bits, owner_lives=part[0] != RUNNING)
    ]
    return found, text(service)
