"""What prometheus_client knows of a process (processor time, memory, descriptors), for each worker."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import ProcessCollector

from otelfork.prometheus.families import COUNTER, GAUGE, Families, Family, key_of


class Process:
    """Reads the figures of the process that asks, by /proc/self. Where there is no /proc there are none."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)

    def families(self, labels: Mapping[str, str]) -> Families:
        """Return the figures, with the labels that tell the worker."""
        key = key_of(labels)
        found: Families = {}
        for metric in self._collector.collect():
            kind = COUNTER if metric.type == "counter" else GAUGE
            (sample,) = metric.samples
            found[metric.name] = Family(kind, "", metric.documentation, "sum", {key: sample.value})
        return found
