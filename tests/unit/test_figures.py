"""Losses as metrics: by reason, and only what there is."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelfork.delivery import figures


def points(make):
    """Return the points that a collection finds, by name and error type."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    make(provider.get_meter("test"))
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    found[metric.name, point.attributes.get("error.type")] = point.value
    provider.shutdown()
    return found


def test_losses_are_counted_by_signal_and_reason():
    """By the convention's names."""
    totals = {("spans", "queue_full"): 3, ("spans", "rejected"): 1, ("logs", "export_failed"): 2}
    assert {
        ("otel.sdk.processor.span.processed", "queue_full"): 3,
        ("otel.sdk.processor.span.processed", "rejected"): 1,
        ("otel.sdk.processor.log.processed", "export_failed"): 2,
    } == points(lambda meter: figures.observe(meter, lambda: totals))


def test_nothing_lost_is_no_point():
    """A process that loses nothing sends nothing about it."""

    def make(meter):
        figures.observe(meter, dict)
        figures.observe_spool(meter, lambda: 0, lambda: 0)

    assert {} == points(make)


def test_what_the_dead_left_is_counted():
    """How much was found, and how much of it may have come twice."""
    assert {("otelfork.spool.records.recovered", None): 5, ("otelfork.spool.records.repeated", None): 2} == points(
        lambda meter: figures.observe_spool(meter, lambda: 5, lambda: 2)
    )
