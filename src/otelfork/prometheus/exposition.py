"""The page: families as prometheus_client's, and its text in the format that the client asks for."""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.openmetrics.exposition import ALLOWUTF8, UNDERSCORES
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from otelfork.prometheus import exponential
from otelfork.prometheus.families import (
    COUNTER,
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    Families,
    Family,
    labels_in,
    latest,
)

_COMPRESSION = 1
_WORTH_COMPRESSING = 1024


class _Page(Collector):
    def __init__(self, families: Families, target: Mapping[str, str]) -> None:
        self._families = families
        self._target = target

    def collect(self) -> Iterator[Metric]:
        if self._target:
            info = InfoMetricFamily("target", "Target metadata")
            info.add_metric([], dict(self._target))
            yield info
        for name, family in self._families.items():
            yield _metric(name, family)


def render(
    families: Families, target: Mapping[str, str], *, accept: str = "", accept_encoding: str = ""
) -> tuple[dict[str, str], bytes]:
    """Return headers and body of an answer.

    Args:
        families: what is shown.
        target: the labels of `target_info`.
        accept: the header of that name; OpenMetrics only has exemplars.
        accept_encoding: the header of that name.
    """
    encode, content_type = _encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(families, target))
    body = encode(registry)
    headers = {"Content-Type": content_type}
    offered = {part.partition(";")[0].strip().lower() for part in accept_encoding.split(",")}
    if "gzip" in offered and len(body) >= _WORTH_COMPRESSING:
        body = gzip.compress(body, _COMPRESSION)
        headers["Content-Encoding"] = "gzip"
    return {**headers, "Content-Length": str(len(body))}, body


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Return the encoder for the header Accept, and the content type.

    Names here are valid in every Prometheus (see `naming`). To escape them once more changes nothing, and takes half of the time
    of OpenMetrics; the encoder for clients that take any name leaves it out.
    """
    encode, content_type = choose_encoder(accept)
    if getattr(encode, "keywords", {}).get("escaping") == UNDERSCORES:
        encode = partial(encode, escaping=ALLOWUTF8)  # type: ignore[call-arg]
    return encode, content_type


def _metric(name: str, family: Family) -> Metric:
    metric = Metric(name, family.help, "histogram" if family.kind == EXPONENTIAL else family.kind, family.unit)
    add = _ADDERS[family.kind]
    for key in sorted(family.series):
        add(metric, labels_in(key), family.series[key], family.exemplars.get(key, ()))
    return metric


def _add_counter(metric: Metric, labels: dict[str, str], value: Any, exemplars: Sequence[Any]) -> None:
    newest = latest(exemplars, ())
    metric.add_sample(f"{metric.name}_total", labels, value, exemplar=_shown(newest[0]) if newest else None)


def _add_gauge(metric: Metric, labels: dict[str, str], value: Any, _: Sequence[Any]) -> None:
    metric.add_sample(metric.name, labels, value)


def _add_histogram(metric: Metric, labels: dict[str, str], value: Any, exemplars: Sequence[Any]) -> None:
    total, bounds, counts = value
    _add_buckets(metric, labels, bounds, list(accumulate(counts)), total, exemplars)


def _add_exponential(metric: Metric, labels: dict[str, str], value: Any, exemplars: Sequence[Any]) -> None:
    _add_buckets(metric, labels, *exponential.classic(value), exemplars)


def _add_buckets(  # noqa: PLR0917
    metric: Metric,
    labels: dict[str, str],
    bounds: list[float],
    counts: list[int],
    total: float,
    exemplars: Sequence[Any],
) -> None:
    shown = {bisect_left(bounds, each[0]): _shown(each) for each in latest(exemplars, bounds)}
    for position, count in enumerate(counts):
        bound = _number_text(bounds[position]) if position < len(bounds) else "+Inf"
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, count, exemplar=shown.get(position))
    metric.add_sample(f"{metric.name}_count", labels, counts[-1])
    if not bounds or bounds[0] >= 0:  # below zero a sum is no counter, and OpenMetrics has none
        metric.add_sample(f"{metric.name}_sum", labels, total)


def _number_text(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


def _shown(exemplar: list[Any]) -> Exemplar:
    value, seconds, labels = exemplar
    return Exemplar(labels, value, seconds)


_ADDERS: dict[str, Callable[[Metric, dict[str, str], Any, Sequence[Any]], None]] = {
    COUNTER: _add_counter,
    GAUGE: _add_gauge,
    HISTOGRAM: _add_histogram,
    EXPONENTIAL: _add_exponential,
}
