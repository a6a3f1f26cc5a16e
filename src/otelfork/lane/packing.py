"""Packs request spans for the encoder: a loop over many of them, each in few steps, by what they have in common.

Private names of the SDK: see `otelfork.lane`.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterable
from typing import Any, final

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind

from otelfork.encoding import wire
from otelfork.encoding.encoder import Encoder
from otelfork.encoding.fields import keep
from otelfork.lane.kinds import Ending, PackedEnding
from otelfork.senders import SPAN, TRACE

_SERVER = wire.SPAN_KIND + wire.varint(SpanKind.SERVER.value + 1)
_NO_STATUS = trace.Status()


def pack(spans: Iterable[Any], encoder: Encoder, into: list[bytes]) -> None:
    """Add request spans to the pieces of a `ScopeSpans` (see `otelfork.encoding.encoder.Packed`)."""
    starts, join, times, raw = _starts, b"".join, wire.times_behind_a_tag, unhexlify
    span_id, parent_id, end_time = wire.SPAN_SPAN_ID, wire.SPAN_PARENT_SPAN_ID, wire.SPAN_END_TIME[0]
    for span in spans:
        try:
            ending, start, end, sender = span._ending, span._start_time, span._end_time, span.sender
            if span._inner is not None or ending is None or not start or not end:
                into.append(wire.message(wire.SCOPE_SPANS_SPANS, _touched(span, encoder)))
                continue
            early, late, remote, local = ending.packed or _pack_ending(ending, encoder)
            if ending.marks is not None:
                late += wire.mark(ending.marks[0], start) + wire.mark(ending.marks[1], end)
            if sender is None:
                body = join((
                    span.root_trace, span_id, span.id_bytes, early, times(start, end_time, end),
                    span._what.pack(span, encoder), late, local,
                ))  # fmt: skip
                into += (starts[len(body)], body)
                continue
            state, parent = b"", span._made_parent
            if parent is not None:
                state, remote = _state(parent, encoder), remote if parent.is_remote else local
            body = join((
                raw(sender[TRACE]), span_id, span.id_bytes, state, parent_id, raw(sender[SPAN]), early,
                times(start, end_time, end), span._what.pack(span, encoder), late, remote,
            ))  # fmt: skip
            into += (starts[len(body)], body)
        except Exception as error:
            encoder.refuse(error)


@final
class _Starts(dict[int, bytes]):
    """What stands before the trace id of a span, by the length of what comes from there on."""

    __slots__ = ()

    def __missing__(self, length: int) -> bytes:
        start = wire.SCOPE_SPANS_SPANS + wire.varint(len(wire.SPAN_TRACE_ID) + length) + wire.SPAN_TRACE_ID
        keep(self, length, start)
        return start


_starts = _Starts()


def _state(parent: SpanContext, encoder: Encoder) -> bytes:
    """Return the field of the trace state, which is the span's too."""
    return encoder.trace_state(parent.trace_state) if parent.trace_state else b""


def _pack_ending(ending: Ending, encoder: Encoder) -> PackedEnding:
    """Pack what many spans end with, and keep it."""
    status = ending.status or _NO_STATUS
    told = encoder.status(status.status_code, status.description)
    early = encoder.name(ending.name) + _SERVER + wire.SPAN_START_TIME
    packed = ending.packed = early, encoder.joined(ending.attributes), told + wire.SPAN_REMOTE, told + wire.SPAN_LOCAL
    return packed


def _touched(span: Any, encoder: Encoder) -> bytes:
    """Return the body of a span that somebody has touched, or that has not ended as spans do."""
    inner = span._inner or span._touched()
    if inner.events is not None or inner.links is not None or span._marks():
        return encoder.span(span)
    name, status = span._name, span._status
    packed = [wire.SPAN_TRACE_ID, span.trace_bytes, wire.SPAN_SPAN_ID, span.id_bytes]
    flags = wire.SPAN_LOCAL
    parent = span._parent
    if parent is not None:
        packed += (_state(parent, encoder), wire.SPAN_PARENT_SPAN_ID, parent.span_id.to_bytes(8, "big"))
        flags = wire.SPAN_REMOTE if parent.is_remote else flags
    packed += (encoder.names.get(name) or encoder.name(name), _SERVER, wire.times(span._start_time, span._end_time))
    bounded = inner.attributes
    if bounded is None:
        packed.append(span._what.pack(span, encoder))
        if span._ending is not None:
            packed.append((span._ending.packed or _pack_ending(span._ending, encoder))[1])
    else:
        encoder.attributes(bounded._dict, packed.append)
        packed.append(wire.count(wire.SPAN_DROPPED_ATTRIBUTES, bounded.dropped))
    packed += (encoder.status(status.status_code, status.description), flags)
    return b"".join(packed)
