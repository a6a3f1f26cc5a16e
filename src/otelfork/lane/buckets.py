"""Many values into a histogram's buckets at once. Private names of the SDK: see `otelfork.lane.folding`."""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any


def add(aggregation: Any, values: Sequence[float], offered: Sequence[Any]) -> Sequence[int]:
    """Add values to a histogram's buckets; return the positions of those that its reservoir has to be offered."""
    bounds = aggregation._boundaries
    ordered = sorted(values)
    filled = 0
    with aggregation._lock:
        counts = aggregation._value
        if counts is None:
            counts = aggregation._value = aggregation._get_empty_bucket_counts()
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, ordered[0])
            aggregation._max = max(aggregation._max, ordered[-1])
        aggregation._sum += sum(values)
        below = 0
        while below < len(ordered):
            bucket = bisect_left(bounds, ordered[below])
            upto = bisect_right(ordered, bounds[bucket], below) if bucket < len(bounds) else len(ordered)
            counts[bucket] += upto - below
            below = upto
            filled += 1
    if not offered:
        return ()
    if type(aggregation._reservoir).__name__ != "AlignedHistogramBucketExemplarReservoir":
        return [position for position, wanted in enumerate(offered) if wanted]
    # That reservoir keeps the last of each bucket: the others need not be offered.
    last: dict[int, int] = {}
    for position in range(len(values) - 1, -1, -1):
        if offered[position]:
            last.setdefault(bisect_left(bounds, values[position]), position)
            if len(last) == filled:
                break
    return sorted(last.values())
