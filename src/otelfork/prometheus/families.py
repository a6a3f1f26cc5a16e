"""Families of series, as they stand in a slot's file and on the merged page, and how those of several processes become one.

A series is keyed by the JSON text of its labels in order, so that merging compares strings and parses nothing. Its value is, as
JSON has it:

| kind | value |
|---|---|
| counter, gauge | number |
| histogram | [sum, bounds, counts] |
| exponential | [sum, scale, zeros, [offset, counts], [offset, counts] of the negative] |

An exemplar is [value, seconds, labels]; there is at most one in a bucket. This module knows neither the SDK nor prometheus_client.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any, TypeAlias

from otelfork.prometheus import exponential

COUNTER, GAUGE, HISTOGRAM, EXPONENTIAL = "counter", "gauge", "histogram", "exponential"
_MOST_EXEMPLARS = 16


@dataclass(slots=True)
class Family:
    """One metric: its metadata, how its numbers are joined, and its series by labels."""

    kind: str
    unit: str
    help: str
    mode: str = "sum"
    """`sum`, `max` or `min`; of histograms `max` is the one with more in it, where each process knows the whole. What is shown
    for each worker has the worker among its labels."""
    series: dict[str, Any] = field(default_factory=dict)
    exemplars: dict[str, list[Any]] = field(default_factory=dict)
    """Of the series that have any."""


Families: TypeAlias = "dict[str, Family]"


def key_of(labels: Mapping[str, str]) -> str:
    """Return the key of a series."""
    return json.dumps(sorted(labels.items()), ensure_ascii=False, separators=(",", ":"))


def labels_in(key: str) -> dict[str, str]:
    """Return the labels of a key."""
    return dict(json.loads(key))


def merge(into: Families, others: Families, *, departed: bool = False) -> None:
    """Add what other processes have counted. Values are replaced and never changed: both may share them.

    Args:
        into: what is added to; families of `others` may become its own.
        others: what is added.
        departed: whether the others are gone: what they counted stays, what they showed of a moment does not.
    """
    for name, theirs in others.items():
        if departed and theirs.kind == GAUGE:
            continue
        ours = into.get(name)
        if ours is None:
            into[name] = theirs
        elif ours.kind == theirs.kind:
            _join(ours, theirs)
        # else: a release that changed what a metric is; a page has one TYPE for a name.


def continued(past: Families, own: Families) -> Families:
    """Return what a process counts on top of what its predecessors in the slot have counted. `past` stays as it is.

    What a metric is now decides: a release may have changed its kind, its mode or its words.
    """
    total: Families = {}
    for name, family in past.items():
        now = own.get(name, family)
        if now.kind == family.kind:
            total[name] = Family(now.kind, now.unit, now.help, now.mode, {**family.series}, {**family.exemplars})
    merge(total, own)
    return total


def _join(ours: Family, theirs: Family) -> None:
    join, mine = _joiner(ours), ours.series
    for key, value in theirs.series.items():
        found = mine.get(key)
        mine[key] = value if found is None else join(found, value)
    for key, exemplars in theirs.exemplars.items():
        more = [*ours.exemplars.get(key, ()), *exemplars]
        bounds: Sequence[float] = ours.series[key][1] if ours.kind == HISTOGRAM else ()
        ours.exemplars[key] = recent(more) if ours.kind == EXPONENTIAL else latest(more, bounds)


def _joiner(family: Family) -> Callable[[Any, Any], Any]:
    if family.kind == HISTOGRAM:
        return _fuller if family.mode == "max" else _sum_of_histograms
    if family.kind == EXPONENTIAL:
        return exponential.joined
    choices: Mapping[str, Callable[[Any, Any], Any]] = {"max": max, "min": min}
    return choices.get(family.mode, add)


def _sum_of_histograms(one: list[Any], other: list[Any]) -> list[Any]:
    if one[1] != other[1]:
        # Workers of two releases: the bounds that both have are exact, the others cannot be told.
        common = sorted(set(one[1]) & set(other[1]))
        one, other = _coarser(one, common), _coarser(other, common)
    return [one[0] + other[0], one[1], [*map(add, one[2], other[2])]]


def _fuller(one: list[Any], other: list[Any]) -> list[Any]:
    return other if sum(other[2]) > sum(one[2]) else one


def _coarser(histogram: list[Any], kept: list[float]) -> list[Any]:
    total, bounds, counts = histogram
    result = [0] * (len(kept) + 1)
    for position, count in enumerate(counts):
        result[bisect_left(kept, bounds[position]) if position < len(bounds) else len(kept)] += count
    return [total, kept, result]


def latest(exemplars: Iterable[Any], bounds: Sequence[float]) -> list[Any]:
    """Return the latest exemplar of each bucket."""
    kept: dict[int, Any] = {}
    for exemplar in exemplars:
        bucket = bisect_left(bounds, exemplar[0])
        if bucket not in kept or kept[bucket][1] <= exemplar[1]:
            kept[bucket] = exemplar
    return list(kept.values())


def recent(exemplars: Iterable[Any]) -> list[Any]:
    """Return the latest exemplars where there are no bounds to sort them by."""
    return sorted(exemplars, key=lambda exemplar: exemplar[1])[-_MOST_EXEMPLARS:]


def dump(families: Families) -> list[Any]:
    """Return families as JSON has them."""
    return [
        [name, each.kind, each.unit, each.help, each.mode, each.series, each.exemplars]
        for name, each in families.items()
    ]


def load(parts: list[Any]) -> Families:
    """Return families from what `dump` made of them."""
    return {name: Family(*rest) for name, *rest in parts}
