"""Python's logging as telemetry: what a record becomes, which records are taken, and what is done to the loggers."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import _logs, trace

from otelfork import exporters, logs
from otelfork.logs import records as logrecords
from otelfork.receiver import HTTP, Receiver
from otelfork.settings import Environment, Settings, SettingsError
from otelfork.settings.logging import LogSettings
from otelfork.testing import Captured, capture

CAPTURE = "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED"
PROGRAM = Path(__file__).parents[1] / "programs/quiet_logging.py"


@pytest.fixture
def restored() -> Iterator[None]:
    """Put back what `logs.install` changes."""
    factory, on, levels = logging.getLogRecordFactory(), logs._capture.on, {}
    for name in ("otelfork", "opentelemetry"):
        levels[name] = (logging.getLogger(name).level, list(logging.getLogger(name).handlers))
    yield
    logging.setLogRecordFactory(factory)
    logs._capture.on = on
    for name, (level, handlers) in levels.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers[:] = handlers


@pytest.fixture
def captured(restored: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Captured]:
    """Telemetry in memory, with Python's logging in it."""
    monkeypatch.setenv(CAPTURE, "true")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-service")
    with capture() as telemetry:
        yield telemetry


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of an application, at level INFO."""
    logger = logging.getLogger("shop")
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()
    logger.filters.clear()
    logger.propagate = True


def bodies(captured: Captured) -> list[Any]:
    return [data.log_record.body for data in captured.logs]


def test_a_record_keeps_what_it_says(captured: Captured, logger: logging.Logger):
    """Body, severity, scope, place in the code and the caller's own attributes."""
    logger.warning("sold %d of %s", 3, "tea", extra={"shelf": 7, "tags": {"a"}})
    (data,) = captured.logs
    record, attributes = data.log_record, data.log_record.attributes
    actual = (record.body, record.severity_text, record.severity_number.name, data.instrumentation_scope.name)
    assert ("sold 3 of tea", "WARN", "WARN", "shop") == actual
    place = (attributes["code.function.name"], attributes["code.file.path"], attributes["shelf"], attributes["tags"])
    assert ("test_a_record_keeps_what_it_says", __file__, 7, "{'a'}") == place


def test_a_record_has_the_trace_of_its_span(captured: Captured, logger: logging.Logger):
    """Trace id and span id of the current span."""
    with trace.get_tracer("test").start_as_current_span("work") as span:
        logger.info("within")
    (data,) = captured.logs
    context = span.get_span_context()
    assert (context.trace_id, context.span_id) == (data.log_record.trace_id, data.log_record.span_id)


def test_an_exception_is_told_by_its_conventions(captured: Captured, logger: logging.Logger):
    """Type, message and stack trace; the body is the message of the record."""
    try:
        raise ValueError("no tea")
    except ValueError:
        logger.exception("failed")
    (data,) = captured.logs
    attributes = data.log_record.attributes
    actual = (
        attributes["exception.type"],
        attributes["exception.message"],
        "no tea" in attributes["exception.stacktrace"],
    )
    assert ("ValueError", "no tea", True) == actual


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("plain", (), "plain"),
        ({"a": 1, "b": [1 << 70]}, (), {"a": 1, "b": [str(1 << 70)]}),
        (7, (), 7),
        (ValueError("x"), (), "x"),
        ("%d", ("not a number",), "%d"),
    ],
)
def test_any_message_becomes_a_body_that_can_be_encoded(message: Any, arguments: tuple[Any, ...], expected: Any):
    """Structures stay structures, everything else becomes text, and a wrong template costs nothing."""
    record = logging.LogRecord("shop", 20, "file.py", 1, message, arguments, None)
    assert expected == logrecords.translate(record).body


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, "UNSPECIFIED"), (5, "TRACE"), (10, "DEBUG"), (25, "INFO4"), (30, "WARN"), (50, "FATAL"), (70, "FATAL4")],
)  # fmt: skip
def test_each_level_has_a_severity(level: int, expected: str):
    """Python's five levels are the first of each range, others its finer steps."""
    assert expected == logrecords.severity(level).name


def test_records_survive_every_way_to_set_up_logging(captured: Captured, logger: logging.Logger):
    """A configuration after ours, forced or by dict, neither loses nor doubles a record."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    try:
        logging.basicConfig(level=logging.INFO, stream=io.StringIO(), force=True)
        logger.info("after basicConfig")
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO"}})
        logger.info("after dictConfig")
    finally:
        root.handlers[:], root.level = before[0], before[1]
    assert ["after basicConfig", "after dictConfig"] == bodies(captured)


def test_basic_config_of_the_application_works_beside_ours(captured: Captured):
    """We put no handler on the root logger, which would make `basicConfig()` do nothing."""
    ours = [handler for handler in logging.getLogger().handlers if type(handler).__module__.startswith("otelfork")]
    assert ours == []


def test_a_record_that_is_filtered_is_not_taken(captured: Captured, logger: logging.Logger):
    """The levels and filters of loggers decide."""
    logger.addFilter(lambda record: "secret" not in record.getMessage())
    logger.info("a secret")
    logger.debug("too low")
    assert bodies(captured) == []


def test_a_logger_that_is_silenced_stays_so(captured: Captured, logger: logging.Logger):
    """One that propagates nothing and has no handler but a NullHandler says nothing."""
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.info("hush")
    assert bodies(captured) == []


def test_a_logger_with_its_own_handler_is_taken(captured: Captured, logger: logging.Logger):
    """gunicorn's and uvicorn's loggers do not propagate."""
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    logger.info("heard")
    assert bodies(captured) == ["heard"]


def test_a_record_that_a_handler_passes_on_is_taken_once(captured: Captured, logger: logging.Logger):
    """A handler may hand the same record to another logger."""

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.getLogger("elsewhere").handle(record)

    logger.propagate = False
    logger.addHandler(Forward())
    logger.info("once")
    assert bodies(captured) == ["once"]


def test_a_record_of_another_process_is_told_there(captured: Captured, logger: logging.Logger):
    """One that came over a queue, or was inherited, has another pid."""
    record = logger.makeRecord("shop", 20, "file.py", 1, "theirs", (), None)
    record.process = os.getpid() + 1
    logger.handle(record)
    assert bodies(captured) == []


def test_our_own_lines_are_no_records(captured: Captured):
    """Neither otelfork's nor OpenTelemetry's diagnostics are exported: a failing export would feed itself."""
    logging.getLogger("otelfork").error("ours")
    logging.getLogger("opentelemetry.exporter.otlp").error("theirs")
    assert bodies(captured) == []


def test_correlated_records_name_trace_span_and_service(captured: Captured, logger: logging.Logger):
    """By the attribute names of opentelemetry-instrumentation-logging, so that formats written for it go on working."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(otelTraceID)s %(otelSpanID)s %(otelServiceName)s %(otelTraceSampled)s"))
    logger.addHandler(handler)
    with trace.get_tracer("test").start_as_current_span("work") as span:
        logger.info("within")
    logger.info("without")
    context = span.get_span_context()
    expected = f"{context.trace_id:032x} {context.span_id:016x} shop-service True\n0 0 shop-service False\n"
    assert expected == out.getvalue()


def test_correlation_keeps_another_record_factory(
    restored: None, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
):
    """Ours calls the one that was there, and is put over it once."""

    class Own(logging.LogRecord):
        pass

    logging.setLogRecordFactory(Own)
    monkeypatch.setenv("OTEL_PYTHON_LOG_CORRELATION", "true")
    logs.install()
    logs.install()
    record = logger.makeRecord("shop", 20, "file.py", 1, "x", (), None)
    assert (True, "0") == (isinstance(record, Own), record.otelTraceID)  # type: ignore[attr-defined]
    assert logging.getLogRecordFactory()._previous is Own  # type: ignore[attr-defined]


def test_the_level_is_for_the_diagnostics(restored: None, monkeypatch: pytest.MonkeyPatch):
    """OTEL_PYTHON_LOG_LEVEL sets the loggers of OpenTelemetry and otelfork, and no other."""
    monkeypatch.setenv("OTEL_PYTHON_LOG_LEVEL", "debug")
    before = logging.getLogger().level
    logs.install()
    levels = [logging.getLogger(name).level for name in ("otelfork", "opentelemetry", "")]
    assert [logging.DEBUG, logging.DEBUG, before] == levels


@pytest.mark.parametrize(("variable", "value"), [("OTEL_PYTHON_LOG_LEVEL", "LOUD"), (CAPTURE, "perhaps")])
def test_a_wrong_setting_is_an_error(variable: str, value: str):
    """It names the variable."""
    with pytest.raises(SettingsError, match=variable):
        LogSettings.read(Environment({variable: value}))


def test_the_exporter_named_logging_writes_records_of_the_api(
    captured: Captured, logger: logging.Logger, caplog: pytest.LogCaptureFixture
):
    """To the logger of their scope, with level, attributes and trace; those of Python's logging are there already."""
    settings = Settings.read(Environment({"OTEL_LOGS_EXPORTER": "logging", "OTEL_METRICS_EXPORTER": "none"}))
    (make,) = exporters.factories(settings)["logs"]
    _logs.get_logger("shop.api").emit(body="sold", severity_number=_logs.SeverityNumber.WARN, attributes={"n": 3})
    logger.info("python's own")
    caplog.clear()
    make().export(captured.logs)
    assert [("shop.api", logging.WARNING, 'sold {"n": 3}')] == caplog.record_tuples


def run(way: str, **environment: str) -> str:
    """Run the program in an interpreter of its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), way],
        env={**own, CAPTURE: "true", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_line_before_the_first_use_makes_no_thread_and_is_not_lost():
    """It leaves when the process ends."""
    with Receiver() as receiver:
        told = run("held", **receiver.environment(HTTP))
        receiver.wait_until_quiet()
    assert ("threads 1\n", ["held"]) == (told, [log.body for log in receiver.logs])


def test_an_exporter_that_logs_makes_no_loop():
    """One record is exported however often we flush; what the exporter says, on any logger, is not one."""
    assert run("loop") == "exported 1\n"


def test_a_record_pending_in_a_handler_leaves_once():
    """logging.shutdown() of parent and child both flush the handler; the record is exported by the parent alone."""
    with Receiver() as receiver:
        told = run("pending", **receiver.environment(HTTP))
        receiver.wait_until_quiet()
    assert (2, ["pending"]) == (told.count("pending"), [log.body for log in receiver.logs])
