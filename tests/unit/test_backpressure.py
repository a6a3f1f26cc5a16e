"""Outbox, streams and readers together while a destination does not take what it is sent."""

from __future__ import annotations

import time

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from tests.unit.exporting import FAILURE, PATIENCE, Keeping, batches, outbox, soon, until

from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outcome import watched
from otelfork.exporters.outlets import OutboxReader
from otelfork.settings import Environment, Settings


class Down(Keeping):
    """Does not take its first batches, for a reason that passes; notes what it was offered."""

    def __init__(self, failures, asked=None):
        super().__init__()
        self.failures, self.asked = failures, asked
        self.offered = 0

    def export(self, batch):
        self.offered += 1
        if self.offered > self.failures:
            return super().export([batch] if hasattr(batch, "resource_metrics") else batch)
        watched().passing, watched().retry_after = True, self.asked
        return FAILURE


@pytest.fixture
def box():
    """An outbox, stopped after the test."""
    made = outbox()
    yield made
    made.stop(soon())


def test_a_signal_that_waits_does_not_hold_up_the_others(box):
    """A collector that asks for a minute gets no spans; the logs leave meanwhile."""
    down, up = Down(1000, asked=60.0), Keeping()
    spans = box.stream("spans", batches(batch_size=1), lambda: down)
    logs = box.stream("logs", batches(batch_size=1), lambda: up)
    box.start()
    spans.put("s")
    until(lambda: down.offered)
    for number in range(5):
        logs.put(number)
    assert (5, 1) == (until(lambda: len(up.records) == 5) and len(up.records), down.offered)


def test_a_flush_goes_on_trying_while_there_is_time(box):
    """A collector that is back before the deadline gets everything."""
    down = Down(2)
    spans = box.stream("spans", batches(), lambda: down)
    box.start()
    spans.put("s")
    assert (True, ["s"]) == (box.flush(soon()), down.records)


def test_a_flush_ends_at_its_deadline_and_keeps_what_is_left(box):
    """A collector that is away for good costs the deadline, not the records."""
    spans = box.stream("spans", batches(), lambda: Down(1000))
    box.start()
    spans.put("s")
    began = time.monotonic()
    delivered = box.flush(soon(0.3))
    assert (False, True, 1) == (delivered, time.monotonic() - began < PATIENCE, len(spans.queue))


def test_a_flush_that_can_only_wait_too_long_says_so_at_once(box):
    """The next try would be after the deadline: nobody is kept waiting for nothing."""
    down = Down(1000, asked=60.0)
    spans = box.stream("spans", batches(), lambda: down)
    box.start()
    spans.put("s")
    began = time.monotonic()
    delivered = box.flush(soon(30))
    assert (False, True) == (delivered, time.monotonic() - began < PATIENCE)


def test_without_a_thread_a_flush_goes_on_trying_too(box):
    """At interpreter exit the flush does the work itself."""
    down = Down(1)
    spans = box.stream("spans", batches(), lambda: down)
    spans.put("s")
    assert (True, ["s"]) == (box.flush(soon()), down.records)


def reading(exporter, temporality):
    """Return a reader in front of the exporter, its counter and its complaints."""
    complaints = Complaints()
    variables = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": temporality}
    reader = OutboxReader(lambda: exporter, Settings.read(Environment(variables)), complaints)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    return reader, provider.get_meter("test").create_counter("c"), complaints


def values(exporter):
    """Return the value of the counter in each collection that was taken."""
    points = [data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points for data in exporter.records]
    return [each[0].value for each in points]


def test_a_delta_that_was_not_taken_is_sent_again():
    """Each collection is a part of the sum."""
    down = Down(2)
    reader, counter, complaints = reading(down, "delta")
    taken = []
    for _ in range(3):
        counter.add(1)
        taken.append(reader.collect_and_export(5.0))
    assert ([False, False, True], [1, 1, 1], {}) == (taken, values(down), complaints.totals())


def test_a_cumulative_collection_is_repeated_by_the_next():
    """One that was not taken is not kept, and nothing is lost by it."""
    down = Down(2)
    reader, counter, complaints = reading(down, "cumulative")
    taken = []
    for _ in range(3):
        counter.add(1)
        taken.append(reader.collect_and_export(5.0))
    assert ([False, False, True], [3], {}) == (taken, values(down), complaints.totals())


def test_deltas_of_a_long_outage_are_bounded_and_counted():
    """Ten collections wait, the oldest gives way."""
    reader, counter, complaints = reading(Down(1000), "delta")
    for _ in range(13):
        counter.add(1)
        reader.collect_and_export(5.0)
    assert {("metric collections", "queue_full"): 3} == complaints.totals()
