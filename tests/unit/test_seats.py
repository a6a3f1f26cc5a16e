"""The global provider seats: taken late, and never from anybody."""

from __future__ import annotations

from tests.fresh import counted, run

SDK = """
from opentelemetry import _logs
from opentelemetry.sdk import _logs as sdk_logs, metrics as sdk_metrics, trace as sdk_trace
def seated():
    return [type(each()).__name__ for each in (trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider)]
"""


def test_constructing_the_middleware_takes_no_seat_and_the_first_request_does():
    """Until then a provider that the user sets is accepted."""
    lines = run(
        SDK
        + """
application = otelfork.OtelMiddleware(lambda environ, start_response: [])
out(any(name.startswith("Proxy") and "otelfork" in type(trace.get_tracer_provider()).__module__ for name in seated()))
from wsgiref.util import setup_testing_defaults
environ = {}
setup_testing_defaults(environ)
application(environ, lambda status, headers: None)
out(*("otelfork" in type(each()).__module__
      for each in (trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider)))
os._exit(0)
""",
        environment={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
    )
    assert ["False", "True True True"] == lines


def test_a_provider_that_the_user_set_before_wins_and_is_left_untouched():
    """Its spans go its way alone; the free seats are ours; our flush includes it."""
    lines = run(
        SDK
        + """
from opentelemetry.sdk.trace.export import BatchSpanProcessor
class Users(Spans):
    def export(self, batch, *args, **kwargs):
        for span in batch: out("users", span.name)
users = sdk_trace.TracerProvider()
users.add_span_processor(BatchSpanProcessor(Users(), schedule_delay_millis=60_000))
trace.set_tracer_provider(users)
configure()
span("s")
metrics.get_meter("m").create_counter("c").add(1)
out(trace.get_tracer_provider() is users, "otelfork" in type(metrics.get_meter_provider()).__module__)
otelfork.flush(5)
os._exit(0)
"""
    )
    assert {"True True": 1, "users s": 1, "point c 1 parent": 1} == counted(lines)


def test_all_seats_taken_leave_ours_without_a_word():
    """No warning about overriding, no record of ours from the user's providers."""
    lines = run(
        SDK
        + """
import logging
class Saying(logging.Handler):
    def emit(self, record): out(record.getMessage())
logging.getLogger().addHandler(Saying())
trace.set_tracer_provider(sdk_trace.TracerProvider())
metrics.set_meter_provider(sdk_metrics.MeterProvider())
_logs.set_logger_provider(sdk_logs.LoggerProvider())
configure()
span("s")
forks.ensure()
otelfork.flush(5)
out([("otelfork" in type(each()).__module__)
     for each in (trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider)])
os._exit(0)
"""
    )
    assert ["[False, False, False]"] == lines


def test_what_was_taken_from_the_api_before_the_seat_records_after_it():
    """Tracers and instruments of the API's own placeholders find our providers once they sit."""
    lines = run("""
        tracer, counter, logger = trace.get_tracer("t"), metrics.get_meter("m").create_counter("c"), get_logger("l")
        metrics.get_meter("m").create_observable_gauge("g", [lambda options: [metrics.Observation(5)]])
        configure()
        span("s", tracer)
        counter.add(1)
        from opentelemetry._logs import LogRecord
        logger.emit(LogRecord(body="b"))
        otelfork.flush(5)
        os._exit(0)
    """)
    expected = ["log b parent", "point c 1 parent", "point g 5 parent", "span s parent"]
    assert expected == sorted(lines)
