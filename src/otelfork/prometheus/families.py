"""Families of series, as they stand in a slot's file and on the merged page, and how those of several processes become one.

A series is keyed by the JSON text of its labels in order, so that merging compares strings and parses nothing. The values are
lists, as JSON has them:

| kind | value |
| counter, gauge | [number, exemplars] |
| histogram | [sum, bounds, counts, exemplars] |
| exponential | [sum, scale, zeros, [offset, counts], [offset, counts] of the negative, exemplars] |

An exemplar is [value, seconds, labels]; there is at most one in a bucket. It knows neither the SDK nor prometheus_client.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from otelfork.prometheus import exponential

COUNTER, GAUGE, HISTOGRAM, EXPONENTIAL = "counter", "gauge", "histogram", "exponential"
Value: TypeAlias = "list[Any]"
_NUMBERS: Mapping[str, Callable[[Any, Any], Any]] = {"max": max, "min": min}


@dataclass(slots=True)
class Family:
    """One metric: its metadata, how its numbers are joined, and its series by labels."""

    kind: str
    unit: str
    help: str
    mode: str = "sum"
    """`sum`, `max` or `min`. What is shown for each worker has the worker among its labels."""
    series: dict[str, Value] = field(default_factory=dict)


Families: TypeAlias = "dict[str, Family]"


def key_of(labels: Mapping[str, str]) -> str:
    """Return the key of a series."""
    return json.dumps(sorted(labels.items()), ensure_ascii=False, separators=(",", ":"))


def labels_in(key: str) -> dict[str, str]:
    """Return the labels of a key."""
    return dict(json.loads(key))


def merge(into: Families, others: Families, *, departed: bool = False) -> None:
    """Add what other processes have counted. `others` may be used up: its lists may become those of `into`.

    Args:
        into: what is added to.
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
            series = {key: [*value] for key, value in family.series.items()}
            total[name] = Family(now.kind, now.unit, now.help, now.mode, series)
    merge(total, own)
    return total


def _join(ours: Family, theirs: Family) -> None:
    join = _joiner(ours)
    mine = ours.series
    for key, value in theirs.series.items():
        found = mine.get(key)
        if found is None:
            mine[key] = value
        else:
            join(found, value)


def _joiner(family: Family) -> Callable[[Value, Value], None]:
    if family.kind == HISTOGRAM:
        return _join_histograms
    if family.kind == EXPONENTIAL:
        return exponential.join
    combine = _NUMBERS.get(family.mode)
    return _add_numbers if combine is None else _chooser(combine)


def _add_numbers(found: Value, other: Value) -> None:
    found[0] += other[0]
    if other[1]:
        found[1] = latest([*found[1], *other[1]], ())


def _chooser(combine: Callable[[Any, Any], Any]) -> Callable[[Value, Value], None]:
    def choose(found: Value, other: Value) -> None:
        found[0] = combine(found[0], other[0])

    return choose


def _join_histograms(found: Value, other: Value) -> None:
    if found[1] != other[1]:
        # Workers of two releases: the bounds that both have are exact, the others cannot be told.
        common = sorted(set(found[1]) & set(other[1]))
        found[2] = _coarser(found[1], found[2], common)
        other = [other[0], common, _coarser(other[1], other[2], common), other[3]]
        found[1] = common
    found[0] += other[0]
    found[2] = [one + another for one, another in zip(found[2], other[2], strict=True)]
    if other[3]:
        found[3] = latest([*found[3], *other[3]], found[1])


def _coarser(bounds: list[float], counts: list[int], kept: list[float]) -> list[int]:
    result = [0] * (len(kept) + 1)
    for position, count in enumerate(counts):
        result[bisect_left(kept, bounds[position]) if position < len(bounds) else len(kept)] += count
    return result


def latest(exemplars: list[Any], bounds: Any) -> list[Any]:
    """Return the latest exemplar of each bucket."""
    kept: dict[int, Any] = {}
    for exemplar in exemplars:
        bucket = bisect_left(bounds, exemplar[0])
        if bucket not in kept or kept[bucket][1] <= exemplar[1]:
            kept[bucket] = exemplar
    return list(kept.values())


def dump(families: Families) -> list[Any]:
    """Return families as JSON has them."""
    return [[name, each.kind, each.unit, each.help, each.mode, each.series] for name, each in families.items()]


def load(parts: list[Any]) -> Families:
    """Return families from what `dump` made of them."""
    return {name: Family(kind, unit, text, mode, series) for name, kind, unit, text, mode, series in parts}
