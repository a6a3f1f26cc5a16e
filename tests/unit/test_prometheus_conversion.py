"""What the SDK collects, as families, and as the exporter of the SDK has it."""

from __future__ import annotations

import logging

import pytest
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.scraping import Worker, converted, samples, text

from otelfork.prometheus.families import merge

SAMPLED = trace.set_span_in_context(
    NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
)
EXEMPLAR = '# {span_id="0000000000000def",trace_id="00000000000000000000000000000abc"}'


def everything(meter):
    """Record with every kind of instrument."""
    meter.create_counter("app.orders", unit="{order}", description="Orders.").add(3, {"http.route": "/a", "ok": True})
    meter.create_counter("app.sent.bytes_total", unit="By").add(7)
    meter.create_up_down_counter("app.level", unit="1").add(-2, {"a-b": 1.5})
    meter.create_gauge("app.temperature", unit="Cel", description='With "quotes"\nand lines.').set(20.5)
    meter.create_histogram("app.time", unit="ms").record(12, {"kind": ["x", "y"]})
    meter.create_observable_counter(
        "app.seen", [lambda _: [Observation(5, {"n": 1}), Observation(6, {"n": 2})]], unit="m/s"
    )
    meter.create_observable_gauge("app.depth", [lambda _: [Observation(1)]], unit="%")


def test_the_sdks_exporter_shows_the_same():
    """Names, labels and values are those of opentelemetry-exporter-prometheus."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(disable_target_info=True, registry=registry)
    everything(MeterProvider([reader], shutdown_on_exit=False).get_meter("app", "1.0"))
    theirs = {
        (sample.name, tuple(sorted((name, value) for name, value in sample.labels.items() if value))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    assert theirs == samples(converted(everything), scope=True)


def test_kinds_and_units_are_told():
    """TYPE, UNIT and HELP stand before the samples."""
    lines = text(converted(everything)).splitlines()
    told = [line for line in lines if line.startswith("#") and "app_temperature" in line]
    assert [
        '# HELP app_temperature_celsius With \\"quotes\\"\\nand lines.',
        "# TYPE app_temperature_celsius gauge",
        "# UNIT app_temperature_celsius celsius",
    ] == told


def test_gauges_are_shown_for_each_worker():
    """A gauge that nobody has declared is one series a worker; an up-down counter is the sum."""

    def record(meter):
        meter.create_gauge("g").set(2)
        meter.create_up_down_counter("u").add(2)

    total = converted(record, worker="0")
    merge(total, converted(record, worker="1"))
    assert {("g", (("worker_id", "0"),)): 2, ("g", (("worker_id", "1"),)): 2, ("u", ()): 4} == samples(total)


@pytest.mark.parametrize(("mode", "expected"), [("sum", 5), ("max", 3), ("min", 2)])
def test_a_gauge_follows_its_declared_mode(mode, expected):
    """Patterns name metrics as OpenTelemetry spells them."""
    modes = [("app.*", mode)]
    total = converted(lambda meter: meter.create_gauge("app.g").set(2), worker="0", modes=modes)
    merge(total, converted(lambda meter: meter.create_gauge("app.g").set(3), worker="1", modes=modes))
    assert {("app_g", ()): expected} == samples(total)


def test_what_is_a_processs_is_shown_for_each_worker():
    """Also its counters."""

    def record(meter):
        meter.create_counter("process.cpu.time", unit="s").add(2)

    assert {("process_cpu_time_seconds_total", (("worker_id", "7"),)): 2} == samples(converted(record, worker="7"))


def test_what_is_the_hosts_is_counted_once():
    """Workers report the host's totals one after the other; they are the same totals."""

    def record(meter):
        meter.create_observable_counter("system.cpu.time", [lambda _: [Observation(1000)]], unit="s")

    total = converted(record, worker="0")
    merge(total, converted(record, worker="1"))
    assert {("system_cpu_time_seconds_total", ()): 1000} == samples(total)


def test_exemplars_stay_until_there_is_a_later_one():
    """The SDK hands an exemplar out once; a page shows it in every scrape."""
    worker = Worker()
    histogram, counter = worker.meter.create_histogram("h"), worker.meter.create_counter("c")
    histogram.record(7, context=SAMPLED)
    counter.add(1, context=SAMPLED)
    worker.families()
    page = text(worker.families())
    shown = [line.partition(" ")[0] for line in page.splitlines() if EXEMPLAR in line]
    assert ["h_bucket", "c_total"] == [name.partition("{")[0] for name in shown]


def test_an_exemplar_has_the_attributes_that_a_view_took():
    """They are labels beside the trace's, as long as OpenMetrics allows."""
    found = []
    for user in ("u1", "u" * 100):
        worker = Worker(views=[View(instrument_name="c", attribute_keys=set())])
        worker.meter.create_counter("c").add(1, {"user": user}, SAMPLED)
        found.append(text(worker.families()))
    assert (True, True) == (f'{EXEMPLAR[:-1]},user="u1"}}' in found[0], EXEMPLAR in found[1])


def test_two_kinds_of_one_name_are_told(caplog):
    """A name has one TYPE, that of a sample too: the second metric is left out, which is said once."""
    worker = Worker()
    worker.meter.create_counter("a.b").add(1)
    worker.meter.create_gauge("a_b").set(2)
    worker.meter.create_gauge("a.b.total").set(3)
    with caplog.at_level(logging.WARNING, "otelfork"):
        found = [samples(worker.families())["a_b_total", ()] for _ in range(2)]
    told = [record.getMessage().split()[5] for record in caplog.records]
    assert ([1, 1], ["a_b", "a_b_total"]) == (found, told)


def test_attributes_that_become_one_are_added_up():
    """Two attribute sets that Prometheus cannot tell apart are one series."""

    def record(meter):
        counter = meter.create_counter("c")
        counter.add(1, {"a": 1})
        counter.add(2, {"a": "1"})

    assert {("c_total", (("a", "1"),)): 3} == samples(converted(record))


def test_a_callback_is_asked_at_each_collection():
    """Observable instruments show what they observe now."""
    worker, seen = Worker(), iter([1, 2])

    def observe(_: CallbackOptions):
        return [Observation(next(seen))]

    worker.meter.create_observable_gauge("g", [observe])
    assert [1, 2] == [samples(worker.families())["g", ()] for _ in range(2)]
