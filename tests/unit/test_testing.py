"""Telemetry in memory, for users' tests."""

from __future__ import annotations

import subprocess
import sys
from wsgiref.util import setup_testing_defaults

import pytest
from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord
from opentelemetry.metrics import Observation

from otelfork import OtelMiddleware, bootstrap, forks
from otelfork.testing import capture

tracer = bootstrap._bootstrap.tracer_provider.get_tracer("taken at import")
meter = bootstrap._bootstrap.meter_provider.get_meter("taken at import")
counter = meter.create_counter("counted")
logger = bootstrap._bootstrap.logger_provider.get_logger("taken at import")
meter.create_observable_gauge("observed", [lambda _: [Observation(7)]])


def request(application):
    """Send one request and return the body."""
    environ: dict = {}
    setup_testing_defaults(environ)
    return b"".join(application(environ, lambda status, headers, exc_info=None: lambda data: None))


def answer(environ, start_response):
    """Answer as a WSGI application."""
    start_response("200 OK", [])
    return [b"answered"]


application = OtelMiddleware(answer)


def test_all_signals_taken_at_import_are_captured():
    """Tracers, instruments, callbacks and loggers made before the block."""
    with capture() as telemetry:
        tracer.start_span("s").end()
        counter.add(3)
        logger.emit(LogRecord(body="b"))
        assert ("s", [3], [7], "b") == (
            telemetry.span("s").name,
            [point.value for point in telemetry.points("counted")],
            [point.value for point in telemetry.points("observed")],
            telemetry.logs[0].log_record.body,
        )


def test_a_middleware_made_before_the_block_is_captured():
    """One application object serves all tests of a suite."""
    for _ in range(2):
        with capture() as telemetry:
            request(application)
            assert 200 == telemetry.span("GET").attributes["http.response.status_code"]


def test_each_capture_starts_empty():
    """Nothing of one test is seen by the next."""
    with capture():
        tracer.start_span("first").end()
        counter.add(1)
    with capture() as telemetry:
        assert ((), ()) == (telemetry.spans, tuple(telemetry.points("counted")))


def test_what_was_captured_can_be_read_after_the_block():
    """Spans and logs stay."""
    with capture() as telemetry:
        tracer.start_span("s").end()
        logger.emit(LogRecord(body="b"))
    assert (["s"], 1) == ([span.name for span in telemetry.spans], len(telemetry.logs))


def test_reset_forgets_spans_and_logs():
    """For a test in two acts."""
    with capture() as telemetry:
        tracer.start_span("s").end()
        logger.emit(LogRecord(body="b"))
        telemetry.reset()
        assert ((), []) == (telemetry.spans, list(telemetry.logs))


def test_a_span_that_is_missing_or_there_twice_is_told_with_what_there_is():
    """The error of a failing test is its explanation."""
    with capture() as telemetry:
        tracer.start_span("twice").end()
        tracer.start_span("twice").end()
        with pytest.raises(LookupError, match="found 2"):
            telemetry.span("twice")
        with pytest.raises(LookupError, match=r"found 0; all spans: \['twice', 'twice'\]"):
            telemetry.span("never")


def test_what_was_configured_before_is_back_afterwards():
    """Also when the block fails; a new generation is built at the next use."""
    with bootstrap.replaced():
        before = bootstrap.configure(exporters={"traces": [], "metrics": [], "logs": []})
        with pytest.raises(KeyError), capture():
            raise KeyError
        assert (before, True) == (bootstrap._bootstrap.telemetry, forks.installed())


def test_nothing_is_left_running_after_the_block():
    """No generation, no thread of ours."""
    with capture():
        tracer.start_span("s").end()
        box = forks.current().outbox
    assert (None, False) == (forks.current(), box._thread.is_alive())


def test_the_global_providers_are_captured():
    """What an application takes from the API."""
    with capture() as telemetry:
        trace.get_tracer("t").start_span("global").end()
        metrics.get_meter("m").create_counter("global").add(1)
        assert ("global", [1]) == (
            telemetry.span("global").name,
            [point.value for point in telemetry.points("global")],
        )


def test_the_fixture_works_in_a_users_suite(tmp_path):
    """`pytest_plugins` is all there is to write."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["otelfork.testing"]\n')
    (tmp_path / "test_user.py").write_text(
        "from opentelemetry import trace\n"
        "def test_one(otelfork_telemetry):\n"
        "    trace.get_tracer('t').start_span('s').end()\n"
        "    assert len(otelfork_telemetry.spans) == 1\n"
        "def test_two(otelfork_telemetry):\n"
        "    assert len(otelfork_telemetry.spans) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert (0, True) == (done.returncode, "2 passed" in done.stdout), done.stdout


def test_it_imports_without_pytest():
    """Users of unittest have it too."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['pytest'] = None; import otelfork.testing as t; print(t.otelfork_telemetry)",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "None" == done.stdout.strip(), done.stderr
