"""The root: what configure accepts, what it returns, and what a program gets without it."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from tests.fresh import counted, outcome, run

import otelfork
from otelfork import bootstrap, forks
from otelfork.settings import SettingsError
from otelfork.testing import capture


@pytest.fixture(autouse=True)
def alone():
    """Put back what was configured before the test."""
    with bootstrap.replaced():
        yield


class Exporter:
    """An exporter, already made."""

    def export(self, batch):
        """Take anything."""

    def shutdown(self):
        """Nothing to end."""


def test_configure_builds_nothing():
    """A preloading master forks clean."""
    otelfork.configure(exporters={"traces": [], "metrics": [], "logs": []})
    assert forks.current() is None


def test_configure_returns_what_follows_the_process():
    """The three providers, the settings and the two commands."""
    telemetry = otelfork.configure(exporters={"traces": [], "metrics": [], "logs": []})
    telemetry.tracer_provider.get_tracer("t").start_span("s").end()
    assert (True, True, 3.0) == (telemetry.flush(5), telemetry.shutdown(), telemetry.settings.exit_timeout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"exporters": {"spans": []}}, "the signals traces, metrics and logs"),
        ({"exporters": {"traces": [Exporter()]}}, "each process makes its own: lambda: exporter"),
        ({"span_processors": [SimpleSpanProcessor(Exporter())]}, "lambda: BatchSpanProcessor"),
    ],
)
def test_an_argument_that_cannot_survive_a_fork_is_refused(arguments, words):
    """The error says what to write in its place."""
    with pytest.raises(SettingsError, match=words):
        otelfork.configure(**arguments)


def test_a_refused_configuration_leaves_the_one_line_implicit():
    """Who catches the error still gets the rules of the one-line middleware."""
    before = bootstrap._bootstrap.telemetry
    with pytest.raises(SettingsError):
        otelfork.configure(exporters={"spans": []})
    assert (False, before) == (bootstrap._bootstrap.guests.explicit, bootstrap._bootstrap.telemetry)


def test_a_live_processor_that_exports_nothing_is_allowed():
    """It is used by every generation, and ended by none."""

    class Counting(SpanProcessor):
        started = ended = 0

        def on_start(self, span, parent_context=None):
            self.started += 1

        def shutdown(self):
            self.ended += 1

    processor = Counting()
    for _ in range(2):
        otelfork.configure(exporters={"traces": [], "metrics": [], "logs": []}, span_processors=[processor])
        bootstrap._bootstrap.tracer_provider.get_tracer("t").start_span("s").end()
    otelfork.shutdown()
    assert (2, 0) == (processor.started, processor.ended)


def test_a_shutdown_is_for_good_in_this_process():
    """What is recorded later goes nowhere, without an error."""
    otelfork.configure(exporters={"traces": [], "metrics": [], "logs": []})
    tracer = bootstrap._bootstrap.tracer_provider.get_tracer("t")
    tracer.start_span("s").end()
    otelfork.shutdown()
    assert (False, None, True) == (tracer.start_span("s").is_recording(), forks.current(), otelfork.flush(1))


def test_a_child_of_a_process_that_shut_down_has_its_own_telemetry():
    """The end of one process's telemetry is not the end of another's."""
    lines = run("""
        configure()
        span("s")
        otelfork.shutdown()
        span("lost")
        reaped([forked(lambda: span("own"))])
        os._exit(0)
    """)
    assert {"span s parent": 1, "span own child": 1} == counted(lines)


def test_the_users_own_set_of_providers_is_built_in_each_process():
    """`providers=`: the factory runs once per process, what it leaves out goes nowhere, and a flush reaches it."""
    lines = run("""
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        def build():
            out("built", who())
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(Spans(), schedule_delay_millis=60_000))
            return otelfork.Providers(tracer_provider=provider)
        otelfork.configure(providers=build)
        span("s")
        metrics.get_meter("m").create_counter("c").add(1)
        otelfork.flush(5)
        reaped([forked(lambda: span("s"))])
        os._exit(0)
    """)
    assert {f"{what} {who}": 1 for what in ("built", "span s") for who in ("parent", "child")} == counted(lines)


def test_the_current_trace_id_is_hexadecimal_and_none_outside_a_trace():
    """For error pages and log lines."""
    with capture():
        outside = otelfork.current_trace_id()
        with trace.use_span(bootstrap._bootstrap.tracer_provider.get_tracer("t").start_span("s")) as span:
            inside = otelfork.current_trace_id()
        assert (None, f"{span.get_span_context().trace_id:032x}") == (outside, inside)


def test_one_start_up_line_says_what_is_on():
    """Each signal and where it goes."""
    _, _, errors = outcome(
        "import logging\nlogging.basicConfig(level=logging.INFO)\notelfork.configure()\nos._exit(0)",
        environment={"OTEL_METRICS_EXPORTER": "none"},
    )
    expected = "INFO:otelfork:telemetry: traces, logs to console; metrics to nowhere; OTEL_SERVICE_NAME is not set"
    assert [expected] == [line for line in errors.splitlines() if "telemetry:" in line]


def test_a_processor_added_before_the_first_use_builds_nothing():
    """A module of the application that adds one at import does not give the master a thread."""
    otelfork.configure(exporters={"traces": [], "metrics": [], "logs": []})
    bootstrap._bootstrap.tracer_provider.add_span_processor(SpanProcessor())
    assert forks.current() is None


def test_a_batch_processor_is_known_to_export():
    """The SDK's two, and what is built like them; everything else is carried into children."""
    from otelfork.build.guests import exports

    batch = BatchSpanProcessor(Exporter())
    answers = (exports(batch), exports(SimpleSpanProcessor(Exporter())), exports(SpanProcessor()))
    batch.shutdown()
    assert (True, True, False) == answers
