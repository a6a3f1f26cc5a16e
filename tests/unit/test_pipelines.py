"""What the environment says to the SDK's own processors says the same to ours: each variable, by its effect."""

from __future__ import annotations

import pytest
from tests.fresh import counted, run

NEVER = "600000"
SAYING = """
import json
from opentelemetry._logs import LogRecord
class Batches(Spans):
    def export(self, batch, *args, **kwargs): out(self.name, len(batch))
    name = "spans"
class LogBatches(Batches):
    name = "logs"
def log(body="b", **attributes): get_logger("l").emit(LogRecord(body=body, attributes=attributes))
def wait(condition):
    deadline = time.monotonic() + 15
    while not condition() and time.monotonic() < deadline: time.sleep(0.01)
def lines_of(names):
    return configure(exporters={"traces": [Batches], "metrics": [], "logs": [LogBatches]})
"""
SIGNALS = {
    "OTEL_BSP": ("spans", "span('s')", "0"),
    "OTEL_BLRP": ("logs", "log()", "1"),
}


def said(script, **environment):
    """Run a script and return the lines that it wrote."""
    return run(SAYING + script, environment=environment)


@pytest.mark.parametrize("prefix", SIGNALS)
def test_max_queue_size(prefix):
    """A queue holds as many records as its variable says; what comes on top is counted as dropped."""
    name, record, number = SIGNALS[prefix]
    lines = said(
        f"""
lines_of(None)
outbox = forks.ensure().outbox
outbox.pause(time.monotonic() + 5)
for _ in range(50): {record}
out("queued", len(outbox.streams[{number}].queue))
out("dropped", outbox._complaints.totals())
os._exit(0)
""",
        **{f"{prefix}_MAX_QUEUE_SIZE": "7", f"{prefix}_SCHEDULE_DELAY": NEVER},
    )
    assert {"queued 7", f"dropped {{('{name}', 'queue_full'): 43}}"} == {line for line in lines if "ed" in line}


@pytest.mark.parametrize("prefix", SIGNALS)
def test_max_export_batch_size(prefix):
    """No export has more records than its variable says."""
    _, record, _ = SIGNALS[prefix]
    lines = said(
        f"""
lines_of(None)
outbox = forks.ensure().outbox
outbox.pause(time.monotonic() + 5)
for _ in range(10): {record}
outbox.resume()
otelfork.flush(5)
os._exit(0)
""",
        **{f"{prefix}_MAX_EXPORT_BATCH_SIZE": "4", f"{prefix}_SCHEDULE_DELAY": NEVER},
    )
    sizes = [int(line.split()[1]) for line in lines]
    assert (10, True) == (sum(sizes), max(sizes) <= 4)


@pytest.mark.parametrize("prefix", SIGNALS)
def test_schedule_delay(prefix):
    """Records leave by themselves after the delay that its variable says, and not before a long one."""
    name, record, _ = SIGNALS[prefix]
    script = f"""
lines_of(None)
forks.ensure()
time.sleep(0.1)  # past the thread's first look at the queues
{record}
time.sleep(0.5)
os._exit(0)
"""
    soon = said(script, **{f"{prefix}_SCHEDULE_DELAY": "20"})
    late = said(script, **{f"{prefix}_SCHEDULE_DELAY": NEVER})
    assert ([f"{name} 1"], []) == (soon, late)


@pytest.mark.parametrize("prefix", SIGNALS)
def test_export_timeout(prefix):
    """A drain stops at the time its variable says, the rest waits for the next; 0 is no limit."""
    _, record, number = SIGNALS[prefix]
    script = f"""
class Counting(Batches):
    def export(self, batch, *args, **kwargs):
        time.sleep(0.05)
configure(exporters={{"traces": [Counting], "metrics": [], "logs": [Counting]}})
stream = forks.ensure().outbox.streams[{number}]
timeouts = []
drain = stream.drain
stream.drain = lambda deadline, **how: timeouts.append(round(deadline - time.monotonic(), 1)) or drain(deadline, **how)
{record}
wait(lambda: timeouts)
out(timeouts[0])
os._exit(0)
"""
    delay = {f"{prefix}_SCHEDULE_DELAY": "5"}
    given = [said(script, **delay, **{f"{prefix}_EXPORT_TIMEOUT": value})[0] for value in ("2500", "0")]
    assert ["2.5", "inf"] == given


def test_metric_export_interval_and_timeout():
    """Points leave by themselves at the interval; a callback is given what the timeout leaves."""
    lines = said(
        """
def callback(options):
    out("given", 4000 < options.timeout_millis <= 5000)
    return [metrics.Observation(1)]
configure(exporters={"traces": [], "metrics": [Points], "logs": []})
metrics.get_meter("m").create_observable_gauge("g", [callback])
forks.ensure()
time.sleep(0.6)
os._exit(0)
""",
        OTEL_METRIC_EXPORT_INTERVAL="50",
        OTEL_METRIC_EXPORT_TIMEOUT="5000",
    )
    seen = counted(lines)
    assert ({"given True", "point g 1 parent"}, True) == (set(seen), seen["point g 1 parent"] >= 2)


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        ("", {"counter": "CUMULATIVE", "histogram": "CUMULATIVE", "observable": "CUMULATIVE", "up_down": "CUMULATIVE"}),
        ("delta", {"counter": "DELTA", "histogram": "DELTA", "observable": "DELTA", "up_down": "CUMULATIVE"}),
        ("LowMemory", {"counter": "DELTA", "histogram": "DELTA", "observable": "CUMULATIVE", "up_down": "CUMULATIVE"}),
    ],
)
def test_temporality_preference(preference, expected):
    """Each instrument's temporality is what the specification says for the preference."""
    lines = said(
        """
class Temporalities(Points):
    def export(self, data, *args, **kwargs):
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            out(metric.name, metric.data.aggregation_temporality.name)
configure(exporters={"traces": [], "metrics": [Temporalities], "logs": []})
meter = metrics.get_meter("m")
meter.create_counter("counter").add(1)
meter.create_up_down_counter("up_down").add(1)
meter.create_histogram("histogram").record(1)
meter.create_observable_counter("observable", [lambda options: [metrics.Observation(1)]])
otelfork.flush(5)
os._exit(0)
""",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference,
    )
    assert expected == dict(line.split() for line in lines)


@pytest.mark.parametrize(
    ("aggregation", "kind"),
    [("", "Histogram"), ("base2_exponential_bucket_histogram", "ExponentialHistogram")],
)
def test_default_histogram_aggregation(aggregation, kind):
    """Histograms are of the kind that the variable says."""
    lines = said(
        """
class Kinds(Points):
    def export(self, data, *args, **kwargs):
        out(type(data.resource_metrics[0].scope_metrics[0].metrics[0].data).__name__)
configure(exporters={"traces": [], "metrics": [Kinds], "logs": []})
metrics.get_meter("m").create_histogram("h").record(1)
otelfork.flush(5)
os._exit(0)
""",
        OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=aggregation,
    )
    assert [kind] == lines


@pytest.mark.parametrize(
    ("chosen", "exemplars"), [("", "1 0"), ("trace_based", "1 0"), ("always_on", "1 1"), ("always_off", "0 0")]
)
def test_exemplar_filter(chosen, exemplars):
    """Exemplars are kept inside and outside of a sampled span as the variable says."""
    lines = said(
        """
class Exemplars(Points):
    def export(self, data, *args, **kwargs):
        found = {m.name: len(m.data.data_points[0].exemplars) for m in data.resource_metrics[0].scope_metrics[0].metrics}
        out(found["inside"], found["outside"])
configure(exporters={"traces": [], "metrics": [Exemplars], "logs": []})
meter = metrics.get_meter("m")
inside, outside = meter.create_counter("inside"), meter.create_counter("outside")
with trace.get_tracer("t").start_as_current_span("s"): inside.add(1)
outside.add(1)
otelfork.flush(5)
os._exit(0)
""",
        **({"OTEL_METRICS_EXEMPLAR_FILTER": chosen} if chosen else {}),
    )
    assert [exemplars] == lines


LIMITS = {
    "OTEL_ATTRIBUTE_COUNT_LIMIT": {"attributes": 2, "event attributes": 2, "link attributes": 2, "log attributes": 2},
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": {"value": 2, "log value": 2},
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": {"attributes": 2},
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": {"value": 2},
    "OTEL_SPAN_EVENT_COUNT_LIMIT": {"events": 2},
    "OTEL_SPAN_LINK_COUNT_LIMIT": {"links": 2},
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": {"event attributes": 2},
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": {"link attributes": 2},
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": {"log attributes": 2},
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": {"log value": 2},
}
UNLIMITED = dict.fromkeys(
    ("attributes", "value", "events", "links", "event attributes", "link attributes", "log attributes", "log value"), 5
)


@pytest.mark.parametrize("variable", LIMITS)
def test_limits(variable):
    """What is exported has no more attributes, events and links, and no longer values, than the variable says."""
    lines = said(
        """
import json
class Sizes:
    def export(self, batch, *args, **kwargs):
        for span in batch:
            out(json.dumps({
                "attributes": len(span.attributes), "value": len(span.attributes["e"]), "events": len(span.events),
                "links": len(span.links), "event attributes": len(span.events[-1].attributes),
                "link attributes": len(span.links[-1].attributes),
            }))
    def shutdown(self): pass
class LogSizes(Sizes):
    def export(self, batch, *args, **kwargs):
        for record in batch:
            attributes = record.log_record.attributes
            out(json.dumps({"log attributes": len(attributes), "log value": len(attributes["e"])}))
configure(exporters={"traces": [Sizes], "metrics": [], "logs": [LogSizes]})
from opentelemetry.trace import Link, SpanContext
five = dict.fromkeys("abcde", "12345")
context = SpanContext(1, 1, False)
s = trace.get_tracer("t").start_span("s", attributes=five, links=[Link(context, five)] * 5)
for _ in range(5): s.add_event("event", five)
s.end()
import warnings
warnings.simplefilter("ignore")
log(**five)
otelfork.flush(5)
os._exit(0)
""",
        **{variable: "2"},
    )
    import json

    found = {key: value for line in lines for key, value in json.loads(line).items()}
    assert {**UNLIMITED, **LIMITS[variable]} == found


def test_a_list_of_exporters_gets_everything_each():
    """`console,console` from two factories: both have every span."""
    lines = said(
        """
configure(exporters={"traces": [Spans, Spans], "metrics": [Points, Points], "logs": []})
span("s")
metrics.get_meter("m").create_counter("c").add(1)
otelfork.flush(5)
os._exit(0)
"""
    )
    assert {"span s parent": 2, "point c 1 parent": 2} == counted(lines)


def test_none_exports_nothing_of_that_signal_and_records_the_rest():
    """A signal switched off has no queue; the others are not touched."""
    lines = said(
        """
otelfork.configure(exporters={"traces": [Spans]})
span("s")
log()
otelfork.flush(5)
out([stream.name for stream in forks.current().outbox.streams], forks.current().outbox.readers)
os._exit(0)
""",
        OTEL_LOGS_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
    )
    assert ["span s parent", "['spans'] []"] == lines


@pytest.mark.parametrize(
    ("sampler", "argument", "spans"),
    [("always_off", "", 0), ("traceidratio", "0", 0), ("traceidratio", "1", 1), ("parentbased_always_on", "", 1)],
)
def test_the_sampler_of_the_environment_decides(sampler, argument, spans):
    """Unsampled spans are not exported."""
    lines = said(
        "configure()\nspan('s')\notelfork.flush(5)\nos._exit(0)",
        OTEL_TRACES_SAMPLER=sampler,
        OTEL_TRACES_SAMPLER_ARG=argument,
    )
    assert spans == len(lines)


def test_factories_run_once_in_each_process():
    """Sampler, ids, resource, processors, readers: what a factory makes belongs to one generation."""
    lines = run("""
        from opentelemetry.sdk.trace import SpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otelfork.resource.identity import ProcessIdGenerator
        made = lambda what, value: lambda: out(what, who()) or value()
        configure(
            sampler=made("sampler", lambda: ALWAYS_ON), id_generator=made("ids", ProcessIdGenerator),
            resource=made("resource", dict), views=made("views", list),
            span_processors=[made("processor", SpanProcessor)], metric_readers=[made("reader", InMemoryMetricReader)],
            exporters={"traces": [made("exporter", Spans)]},
        )
        span("s"), span("s")
        otelfork.flush(5)
        reaped([forked(lambda: span("s"))])
        os._exit(0)
    """)
    made = {line: number for line, number in counted(lines).items() if not line.startswith("span")}
    kinds = ("sampler", "ids", "resource", "views", "processor", "reader", "exporter")
    assert {f"{kind} {who}": 1 for kind in kinds for who in ("parent", "child")} == made
