"""Estimates how much memory a record takes while it waits: strings by their length, the rest by its number.

A guess for a bound, and cheap: nothing is encoded. It takes whatever looks like a span or a log record.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

_RECORD = 700
"""An empty span or log record with its context."""
_ITEM = 60
"""A key and a small value."""
_DEEPEST = 4
_MANY, _FEW = 128, 16
"""Records that are weighed of what waits, now and then, and of each batch that is sent."""
_NEW = 0.25
"""What a batch says of the average: as the last ones do together, it counts as much as many."""


@final
class Scales:
    """How much the records of a queue weigh on average, by that of some: at random, as what is heavy may come at intervals.

    Args:
        weigh: estimates a record's bytes.
    """

    __slots__ = ("_average", "_choose", "_weigh")

    def __init__(self, weigh: Callable[[Any], int]) -> None:
        self._weigh = weigh
        # Not the module's: an application's own random numbers stay what they are.
        self._choose = random.Random().choices  # noqa: S311 - no secret
        self._average: float | None = None

    def of_few(self, records: Sequence[Any]) -> float:
        """Return the average of all, after a look at some of a batch."""
        found, before = self._sample(records, _FEW), self._average
        self._average = found if before is None else before + (found - before) * _NEW
        return self._average

    def of_many(self, records: Sequence[Any]) -> float:
        """Return the average of these, which counts from now on."""
        self._average = self._sample(records, _MANY)
        return self._average

    def _sample(self, records: Sequence[Any], most: int) -> float:
        chosen = records if len(records) <= most else self._choose(records, k=most)
        return sum(map(self._weigh, chosen)) / len(chosen)


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
