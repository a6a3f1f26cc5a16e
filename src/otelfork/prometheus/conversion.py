"""From what the SDK collects in one process to families of series.

The labels of a series are made once and kept, and so are its exemplars: the SDK hands out each exemplar in one collection only.
Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Gauge,
    Histogram,
    Metric,
    ResourceMetrics,
    Sum,
)

from otelfork.prometheus import exponential, families, naming
from otelfork.prometheus.families import COUNTER, EXPONENTIAL, GAUGE, HISTOGRAM, Families, Family

_logger = logging.getLogger("otelfork")
WORKER = "worker_id"
Modes: TypeAlias = "Sequence[tuple[str, str]]"
# What is the host's is reported by one worker at a time, as a total of the host; what is a process's, by each.
_KNOWN: Modes = (("system.*", "max"), ("process.*", "worker"), ("cpython.*", "worker"))
_SUFFIXES = {
    GAUGE: ("",),
    COUNTER: ("", "_total"),
    HISTOGRAM: ("", "_bucket", "_count", "_sum"),
    EXPONENTIAL: ("", "_bucket", "_count", "_sum"),
}
_MOST_KEYS = 10_000
_EXEMPLAR_CHARACTERS = 128
"""OpenMetrics 1.0, "Exemplars": names and values of all its labels together."""


class Conversion:
    """Converts the collections of one process.

    Args:
        modes: declared modes by pattern of the metric's name, the first that fits.
        worker: the label value that tells this worker's own series from the others'; None where it is alone.
    """

    def __init__(self, modes: Modes = (), worker: str | None = None) -> None:
        self._modes = (*modes, *_KNOWN)
        self.own = {} if worker is None else {WORKER: worker}
        """The labels of what is shown for each worker."""
        self._streams: dict[Any, _Stream | None] = {}
        self._claims: dict[str, tuple[str, str]] = {}
        """Names of samples, with the name and kind of the family whose they are."""

    def families(self, collected: Iterable[ResourceMetrics], *, whole: bool = False) -> Families:
        """Return the families of a collection.

        Args:
            collected: what was collected.
            whole: whether its figures are those of the whole server, of which each process that tells them knows the same.
        """
        found: Families = {}
        for resource in collected:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    stream = self._stream(scope.scope, metric, whole=whole)
                    if stream is not None:
                        families.merge(found, {stream.name: stream.family(metric)})
        return found

    def _stream(self, scope: Any, metric: Metric, *, whole: bool) -> _Stream | None:
        key = (scope, metric.name, metric.unit, type(metric.data), whole)
        if key not in self._streams:
            kind, mode = _kind(metric.data)
            mode = "max" if whole else self._mode(metric.name, mode)
            stream = self._new_stream(scope, metric, kind, mode) if kind else None
            self._streams[key] = stream if stream is not None and self._claimed(stream) else None
        return self._streams[key]

    def _new_stream(self, scope: Any, metric: Metric, kind: str, mode: str) -> _Stream:
        labels = naming.scope_labels(scope.name, scope.version, scope.schema_url, scope.attributes or {})
        if mode == "worker":
            return _Stream(metric, kind, "sum", {**labels, **self.own})
        return _Stream(metric, kind, mode, labels)

    def _mode(self, name: str, default: str) -> str:
        return next((mode for pattern, mode in self._modes if fnmatchcase(name, pattern)), default)

    def _claimed(self, stream: _Stream) -> bool:
        """Tell whether a stream may have the names of its samples: a name has one TYPE on the page."""
        for suffix in _SUFFIXES[stream.kind]:
            name, kind = self._claims.setdefault(f"{stream.name}{suffix}", (stream.name, stream.kind))
            if (name, kind) != (stream.name, stream.kind):
                message = "two metrics want the name %s%s for Prometheus, a %s and a %s: the second is left out"
                _logger.warning(message, stream.name, suffix, kind, stream.kind)
                return False
        return True


def _kind(data: Any) -> tuple[str, str]:
    """Return the kind of family and the mode unless declared; ("", "") for what cannot be scraped (a delta)."""
    if isinstance(data, Gauge):
        return GAUGE, "worker"
    if data.aggregation_temporality is not AggregationTemporality.CUMULATIVE:
        return "", ""
    if isinstance(data, Sum):
        return (COUNTER if data.is_monotonic else GAUGE), "sum"
    if isinstance(data, Histogram):
        return HISTOGRAM, "sum"
    return (EXPONENTIAL, "sum") if isinstance(data, ExponentialHistogram) else ("", "")


class _Stream:
    """One metric of one scope, over all collections of this process."""

    __slots__ = ("_exemplars", "_keys", "_labels", "_mode", "_unit", "_value", "kind", "name")

    def __init__(self, metric: Metric, kind: str, mode: str, labels: Mapping[str, str]) -> None:
        self._unit = naming.unit_name(metric.unit or "")
        self.name = naming.metric_name(metric.name, self._unit, counter=kind == COUNTER)
        self.kind = kind
        self._mode = mode
        self._labels = labels
        self._keys: dict[int, tuple[Any, str]] = {}
        """The keys of series by the identity of their attributes, which are kept alive with them."""
        self._exemplars: dict[str, list[Any]] = {}
        self._value = _VALUES.get(kind, _number)

    def family(self, metric: Metric) -> Family:
        """Return the series of a collection."""
        found: Families = {self.name: self._empty(metric)}
        family = found[self.name]
        for point in metric.data.data_points:
            key, value = self._key(point.attributes), self._value(point)
            if key in family.series:  # attributes that differ only in what Prometheus cannot tell apart
                again = self._empty(metric)
                again.series[key] = value
                families.merge(found, {self.name: again})
            else:
                family.series[key] = value
            self._keep(key, value, point)
        family.exemplars = {key: self._exemplars[key] for key in self._exemplars.keys() & family.series.keys()}
        return family

    def _empty(self, metric: Metric) -> Family:
        return Family(self.kind, self._unit, metric.description or "", self._mode)

    def _key(self, attributes: Any) -> str:
        known = self._keys.get(id(attributes))
        if known is None:
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            given = naming.labels_of({**(attributes or {})})
            known = self._keys[id(attributes)] = attributes, families.key_of({**given, **self._labels})
        return known[1]

    def _keep(self, key: str, value: Any, point: Any) -> None:
        """Keep the latest exemplar of each bucket, of this collection and those before."""
        if self.kind == GAUGE or not point.exemplars:
            return
        bounds: Sequence[float] = ()
        if self.kind != COUNTER:
            bounds = value[1] if self.kind == HISTOGRAM else exponential.classic(value)[0]
        known = self._exemplars.get(key, ())
        self._exemplars[key] = families.latest([*known, *map(_exemplar, point.exemplars)], bounds)


def _number(point: Any) -> Any:
    return point.value


def _histogram(point: Any) -> list[Any]:
    return [point.sum, list(point.explicit_bounds), list(point.bucket_counts)]


def _exponential(point: Any) -> list[Any]:
    sides = [[side.offset, list(side.bucket_counts)] for side in (point.positive, point.negative)]
    return [point.sum, point.scale, point.zero_count, *sides]


_VALUES: Mapping[str, Callable[[Any], Any]] = {HISTOGRAM: _histogram, EXPONENTIAL: _exponential}


def _exemplar(exemplar: Any) -> list[Any]:
    labels = {}
    if exemplar.trace_id:
        labels = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    more = {**naming.labels_of(exemplar.filtered_attributes or {}), **labels}
    if sum(len(name) + len(value) for name, value in more.items()) <= _EXEMPLAR_CHARACTERS:
        labels = more
    return [exemplar.value, exemplar.time_unix_nano / 1e9, labels]
