"""How the scoreboard's file is laid out, and how what the dead left in it is read.

A header page, then per slot a header row and request rows of 256 bytes each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"otelfrk1"
PAGE = 4096
ROW = 256
HEADER = struct.Struct(
    "<8s16sIIQ128s"
)  # magic, random bits of the run, rows per slot, slot size, created (ns), service
SLOT = struct.Struct("<IIQQQQ16s")  # state, pid, start time (ticks), pid namespace, begun (ns), heartbeat (ns), end
REQUEST = struct.Struct("<BHIQ16s8s8sQ16s184sB")
"""Flags, length of the text, pid, heartbeat (set by the finder), trace, span, parent, start, how it ended (set by the finder),
"METHOD path", state. The state comes last: a row whose writer was killed half-way is a free row."""
U64 = struct.Struct("<Q")
HEARTBEAT = 32  # offset in the slot header
END = 40
ROW_HEARTBEAT = 7
ROW_END = REQUEST.size - 1 - 184 - 16

FREE, RUNNING, ORPHANED = 0, 1, 2
TEXT_BYTES = 184
STATE = REQUEST.size - 1


@dataclass(frozen=True, slots=True)
class Orphan:
    """A request whose worker was killed, as its row told."""

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


def orphans_of(slot: int, content: bytes, bits: bytes, *, owner_lives: bool) -> Iterator[Orphan]:
    """Return the requests that a slot's dead owner, or one before it, was busy with."""
    _, _, _, _, _, heartbeat, ended = SLOT.unpack_from(content)
    for row in range(1, len(content) // ROW):
        flags, length, pid, beat, trace, span, parent, start, end, raw, state = REQUEST.unpack_from(content, row * ROW)
        if state == ORPHANED or (state == RUNNING and not owner_lives):
            method, _, path = raw[:length].decode("utf-8", "replace").partition(" ")
            yield Orphan(
                slot=slot,
                row=row,
                trace_id=int.from_bytes(trace, "big"),
                span_id=int.from_bytes(span, "big"),
                parent_id=int.from_bytes(parent, "big"),
                sampled=bool(flags & 1),
                start=start,
                heartbeat=beat if state == ORPHANED else heartbeat,
                pid=pid,
                method=method,
                path=path,
                ended=(end if state == ORPHANED else ended).rstrip(b"\0").decode("ascii", "replace"),
                bits=bits,
            )


def read_dead(content: bytes) -> tuple[list[Orphan], str]:
    if len(content) < PAGE or not content.startswith(MAGIC):
        return [], ""
    _, bits, _, size, _, service = HEADER.unpack_from(content)
    slots = [content[at : at + size] for at in range(PAGE, len(content), size) if len(content) >= at + size]
    found = [
        orphan
        for slot, part in enumerate(slots)
        for orphan in orphans_of(slot, part, bits, owner_lives=part[0] != RUNNING)
    ]
    return found, service.rstrip(b"\0").decode("utf-8", "replace")
