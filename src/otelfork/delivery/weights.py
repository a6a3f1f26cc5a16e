"""Estimates how much memory a record takes while it waits: strings by their length, the rest by its number.

A guess for a bound, and cheap: nothing is encoded. It takes whatever looks like a span or a log record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_RECORD = 700
"""An empty span or log record with its context."""
_ITEM = 60
"""A key and a small value."""
_DEEPEST = 4


def of_span(span: Any) -> int:
    """Return the bytes of a span in memory, about."""
    own = getattr(span, "weight", None)  # a request span's, which need not be made readable for that
    if own is not None and (known := own()):
        return int(known)
    weight = _RECORD + _of(span.attributes, 0)
    for event in span.events or ():
        weight += _ITEM + _of(event.attributes, 0)
    for link in span.links or ():
        weight += _ITEM + _of(link.attributes, 0)
    return weight


def of_log(record: Any) -> int:
    """Return the bytes of a log record (`ReadableLogRecord`) in memory, about."""
    log = record.log_record
    return _RECORD + _of(log.body, 0) + _of(log.attributes, 0)


def of_anything(record: Any) -> int:
    """Return the bytes of a span or a log record; what is neither weighs as much as an empty one."""
    try:
        return of_log(record) if hasattr(record, "log_record") else of_span(record)
    except Exception:  # an estimate is no reason to lose anything
        return _RECORD


def _of(value: Any, depth: int) -> int:
    if isinstance(value, (str, bytes)):
        return _ITEM + len(value)
    if depth >= _DEEPEST:
        return _ITEM
    if isinstance(value, Mapping):
        return sum(_ITEM + _of(each, depth + 1) for each in value.values())
    if isinstance(value, Sequence):
        return _ITEM + sum(_of(each, depth + 1) for each in value)
    return _ITEM
