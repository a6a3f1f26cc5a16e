"""Exponential histograms of several processes as one, and as the buckets that every Prometheus reads.

They are added up at the coarsest of their scales, which is exact. On the page they have classic buckets at powers of the square
root of two (scale 1), or at some of them where the scale is coarser: bounds of one grid, whatever the values happen to span.
Source: OpenTelemetry specification, metrics data model, exponential histogram.
"""

from __future__ import annotations

from itertools import accumulate
from math import inf, isfinite
from typing import Any

FINEST = 1
"""The finest scale that is shown: two buckets for each doubling."""
MOST_BUCKETS = 160
"""On each side of zero, as in the SDK."""


def joined(one: list[Any], other: list[Any]) -> list[Any]:
    """Return the sum of two histograms (see `families`)."""
    scale = min(one[1], other[1])
    pairs = [
        (_downscaled(left, one[1] - scale), _downscaled(right, other[1] - scale))
        for left, right in zip(one[3:], other[3:], strict=True)
    ]
    by = max(_too_wide(*pair) for pair in pairs)
    sides = [_added(_downscaled(left, by), _downscaled(right, by)) for left, right in pairs]
    return [one[0] + other[0], scale - by, one[2] + other[2], *sides]


def _too_wide(one: list[Any], other: list[Any]) -> int:
    """Return how many scales coarser two sides have to be for all of their buckets to be few: they may lie far apart."""
    filled = [side for side in (one, other) if side[1]]
    if not filled:
        return 0
    first = min(offset for offset, _ in filled)
    last = max(offset + len(counts) - 1 for offset, counts in filled)
    by = 0
    while (last >> by) - (first >> by) >= MOST_BUCKETS:
        by += 1
    return by


def classic(value: list[Any]) -> tuple[list[float], list[int], int | float]:
    """Return the upper bounds in order, the cumulative counts (one more, for +Inf), and the sum."""
    total, scale, zeros, positive, negative = value
    coarser = max(0, scale - FINEST)
    step = 2.0**2.0 ** -(scale - coarser)
    below, above = _downscaled(negative, coarser), _downscaled(positive, coarser)
    # Bucket i of the positive side holds (step^i, step^(i+1)], of the negative side the same below zero.
    buckets = [(-_power(step, index), count) for index, count in reversed(list(_indexed(below)))]
    buckets.append((0.0, zeros))
    buckets += [(_power(step, index + 1), count) for index, count in _indexed(above)]
    finite = [(bound, count) for bound, count in buckets if isfinite(bound)]
    beyond = sum(count for bound, count in buckets if bound == inf)
    return [bound for bound, _ in finite], list(accumulate([*(count for _, count in finite), beyond])), total


def _indexed(side: list[Any]) -> list[tuple[int, int]]:
    offset, counts = side
    return [(offset + position, count) for position, count in enumerate(counts)]


def _power(step: float, index: int) -> float:
    try:
        return float(step**index)
    except OverflowError:
        return inf


def _downscaled(side: list[Any], by: int) -> list[Any]:
    """Return buckets `by` scales coarser, without empty ones at the ends."""
    offset, counts = side
    first = offset >> by
    merged = [0] * (((offset + len(counts) - 1) >> by) - first + 1 if counts else 0)
    for position, count in enumerate(counts):
        merged[((offset + position) >> by) - first] += count
    return _trimmed(first, merged)


def _trimmed(offset: int, counts: list[int]) -> list[Any]:
    filled = [position for position, count in enumerate(counts) if count]
    if not filled:
        return [0, []]
    return [offset + filled[0], counts[filled[0] : filled[-1] + 1]]


def _added(one: list[Any], other: list[Any]) -> list[Any]:
    if not one[1] or not other[1]:
        return one if one[1] else other
    first = min(one[0], other[0])
    last = max(one[0] + len(one[1]), other[0] + len(other[1]))
    counts = [0] * (last - first)
    for offset, given in (one, other):
        for position, count in enumerate(given):
            counts[offset - first + position] += count
    return [first, counts]
