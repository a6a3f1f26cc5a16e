"""Pages for the tests of the room `prometheus`: what was collected, converted and read back from the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from otelfork.prometheus import exposition
from otelfork.prometheus.conversion import Conversion
from otelfork.prometheus.families import Families
from otelfork.prometheus.reader import PageReader

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Worker:
    """One worker's instruments, and what its collections become."""

    def __init__(
        self, worker: str | None = None, *, modes: Sequence[tuple[str, str]] = (), views: Sequence[View] = ()
    ) -> None:
        self.reader = PageReader()
        provider = MeterProvider([self.reader], resource=Resource.get_empty(), shutdown_on_exit=False, views=views)
        self.meter: Meter = provider.get_meter("app", "1.0")
        self.conversion = Conversion(modes, worker)

    def families(self) -> Families:
        """Collect and convert."""
        return self.conversion.families(self.reader.read().resource_metrics)


def converted(record: Callable[[Meter], object], **options: Any) -> Families:
    """Return the families of one worker that records something."""
    worker = Worker(**options)
    record(worker.meter)
    return worker.families()


def samples(families: Families, *, scope: bool = False) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples of the page by name and labels; without the labels of the scope unless asked for."""
    found = {}
    for family in text_string_to_metric_families(text(families)):
        for sample in family.samples:
            labels = {
                name: value for name, value in sample.labels.items() if scope or not name.startswith("otel_scope")
            }
            found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


def text(families: Families, accept: str = OPENMETRICS) -> str:
    """Return the page as text."""
    return exposition.render(families, {}, accept=accept)[1].decode()
