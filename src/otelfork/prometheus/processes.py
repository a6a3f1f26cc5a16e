"""What prometheus_client knows of a process (processor time, memory, descriptors), for each worker."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from prometheus_client import Metric, ProcessCollector

from otelfork.prometheus.families import COUNTER, GAUGE, Families, Family, key_of

_SECONDS = 0.9
"""Less than between two snapshots that nobody asked for: each of those reads anew."""


class Process:
    """Reads the figures of the process that asks, by /proc/self. Where there is no /proc there are none."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)
        self._read: list[Metric] = []
        self._read_at = -math.inf

    def families(self, labels: Mapping[str, str]) -> Families:
        """Return the figures, at most a second old, with the labels that tell the worker."""
        if time.monotonic() - self._read_at > _SECONDS:
            self._read, self._read_at = list(self._collector.collect()), time.monotonic()
        key = key_of(labels)
        found: Families = {}
        for metric in self._read:
            kind = COUNTER if metric.type == "counter" else GAUGE
            (sample,) = metric.samples
            found[metric.name] = Family(kind, "", metric.documentation, "sum", {key: sample.value})
        return found
