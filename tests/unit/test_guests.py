"""The user's own processors and readers: where they stay, what they replace, what is carried into children."""

from __future__ import annotations

from tests.fresh import counted, run

USERS = """
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry._logs import LogRecord
from otelfork import bootstrap

class Ours(Spans):
    def export(self, batch, *args, **kwargs):
        for span in batch: out("ours", span.name, who())

class OurLogs(Logs):
    def export(self, batch, *args, **kwargs):
        for data in batch: out("our log", data.log_record.body, who())

class Marking(SpanProcessor):
    def on_start(self, span, parent_context=None): out("marked", span.name, who())

class MarkingLogs(LogRecordProcessor):
    def on_emit(self, record): out("marked log", record.log_record.body, who())
    def shutdown(self): pass
    def force_flush(self, timeout_millis=0): return True

def log(body): get_logger("l").emit(LogRecord(body=body))

def implicit():
    configure(exporters={"traces": [Ours], "metrics": [], "logs": [OurLogs]})
    bootstrap._bootstrap.guests.explicit = False
"""


def test_the_first_exporting_processor_replaces_the_default_exporter():
    """The `post_fork` recipe around the one line doubles nothing, for spans and for logs."""
    lines = run(
        USERS
        + """
implicit()
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(Spans()))
from opentelemetry._logs import get_logger_provider
get_logger_provider().add_log_record_processor(BatchLogRecordProcessor(Logs()))
span("s")
log("b")
otelfork.flush(5)
os._exit(0)
"""
    )
    assert {"span s parent": 1, "log b parent": 1} == counted(lines)


def test_explicit_configuration_keeps_both():
    """Who named an exporter and adds another one wants both."""
    lines = run(
        USERS
        + """
configure(exporters={"traces": [Ours], "metrics": [], "logs": []})
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(Spans()))
span("s")
otelfork.flush(5)
os._exit(0)
"""
    )
    assert {"span s parent": 1, "ours s parent": 1} == counted(lines)


def test_a_child_has_the_default_exporter_again():
    """An exporting processor stays where it was added: its thread and connection do not survive a fork."""
    lines = run(
        USERS
        + """
implicit()
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(Spans()))
reaped([forked(lambda: span("s"))])
span("s")
otelfork.flush(5)
os._exit(0)
"""
    )
    assert {"ours s child": 1, "span s parent": 1} == counted(lines)


def test_processors_that_export_nothing_are_carried_into_children():
    """Whether they were added before the first use or after it, for spans and for logs."""
    lines = run(
        USERS
        + """
from opentelemetry._logs import get_logger_provider
configure(exporters={"traces": [], "metrics": [], "logs": []})
trace.get_tracer_provider().add_span_processor(Marking())
span("s")
get_logger_provider().add_log_record_processor(MarkingLogs())
log("b")
def child():
    span("s"), log("b")
reaped([forked(child)])
os._exit(0)
"""
    )
    assert {f"marked {what} {who}": 1 for what in ("s", "log b") for who in ("parent", "child")} == counted(lines)


def test_an_exporting_processor_under_explicit_configuration_warns_and_names_the_factory_form():
    """It stays in this process, and the user learns what would not."""
    lines = run(
        USERS
        + """
import logging
class Saying(logging.Handler):
    def emit(self, record): out(record.levelname, "span_processors=[...]" in record.getMessage())
logging.getLogger("otelfork").addHandler(Saying())
configure()
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(Spans()))
os._exit(0)
"""
    )
    assert ["WARNING True"] == lines


def test_what_a_users_batch_processor_holds_leaves_with_the_exit():
    """A factory's processor and one that was added are flushed on the way out; there is no other exit handler for them."""
    lines = run(
        USERS
        + """
configure(
    exporters={"traces": [], "metrics": [], "logs": []},
    span_processors=[lambda: BatchSpanProcessor(Spans(), schedule_delay_millis=60_000)],
)
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(Ours(), schedule_delay_millis=60_000))
span("s")
"""
    )
    assert {"span s parent": 1, "ours s parent": 1} == counted(lines)


PROVIDERS = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
class Periodic(Points, MetricExporter):
    def __init__(self): MetricExporter.__init__(self)
    def force_flush(self, *args, **kwargs): return True
def build():
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Spans(), schedule_delay_millis=60_000))
    meters = MeterProvider([PeriodicExportingMetricReader(Periodic(), export_interval_millis=60_000)])
    return otelfork.Providers(tracers, meters)
otelfork.configure(providers=build)
counter = metrics.get_meter("m").create_counter("c")
"""


def test_the_users_own_set_written_as_in_the_sdks_manual_repeats_nothing():
    """Counts and open spans of the parent stay the parent's, also at the exits, which the SDK's providers register for."""
    lines = run(
        PROVIDERS
        + """
counter.add(1000)
with trace.get_tracer("t").start_as_current_span("outer"):
    pid = os.fork()
if pid == 0:
    span("inner")
    counter.add(10)
    sys.exit()
reaped([pid])
"""
    )
    assert {"span inner child", "point c 10 child", "span outer parent", "point c 1000 parent"} == set(lines)


def test_without_the_private_names_of_the_sdk_the_users_own_set_still_works():
    """What a later SDK calls otherwise costs the guard against repeats, and nothing else."""
    lines = run(
        """
from otelfork.build import guests
import builtins
def without(owner, name, *default):
    return default[0] if name in {"_metric_readers", "_active_span_processor"} else builtins.getattr(owner, name, *default)
guests.getattr = without
"""
        + PROVIDERS
        + """
span("s")
counter.add(1)
out(otelfork.flush(5))
os._exit(0)
"""
    )
    assert {"span s parent": 1, "point c 1 parent": 1, "True": 1} == counted(lines)
