"""OTEL_PYTHON_LOG_*: format and levels as opentelemetry-instrumentation-logging documents them, and who has the last word."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from tests import fresh

from otelfork.logs import afterwards, records
from otelfork.request import exchange
from otelfork.settings import Environment, SettingsError
from otelfork.settings.logging import DEFAULT_FORMAT, LogSettings

ON = {"OTEL_PYTHON_LOG_CORRELATION": "true", "OTEL_SERVICE_NAME": "shop"}
SCRIPT = """
import logging, io, sys
from opentelemetry import trace
{before}
import otelfork
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
otelfork.configure(exporters={{"traces": [InMemorySpanExporter], "metrics": [], "logs": []}})
{after}
root = logging.getLogger()
for handler in root.handlers:
    handler.setStream(sys.stdout)
with trace.get_tracer("t").start_as_current_span("work") as span:
    logging.getLogger("shop").info("said")
    logging.getLogger("shop").debug("whispered")
    sys.stdout.flush()
out("span", format(span.get_span_context().span_id, "016x"), root.level, len(root.handlers))
"""


def lines(before: str = "", after: str = "", **variables: str) -> list[str]:
    """Return what a program with this environment prints, in which logging is set up before or after ours."""
    script = SCRIPT.format(before=before, after=after)
    return fresh.run(
        script, recording=False, environment={**ON, **{f"OTEL_PYTHON_LOG_{k}": v for k, v in variables.items()}}
    )


def test_correlation_sets_the_documented_format():
    """By `logging.basicConfig`, at level INFO."""
    said, span = lines()
    _, span_id, level, handlers = span.split()
    assert (True, True, True, "20", "1") == (
        "INFO [shop] [<string>:" in said,
        f"span_id={span_id} resource.service.name=shop trace_sampled=True] - said" in said,
        "trace_id=0 " not in said,
        level,
        handlers,
    )


def test_the_format_and_the_level_can_be_chosen():
    """OTEL_PYTHON_LOG_FORMAT and OTEL_PYTHON_LOG_LEVEL."""
    found = lines(FORMAT="%(message)s by %(otelServiceName)s", LEVEL="debug")
    assert ["said by shop", "whispered by shop"] == found[:2]
    assert "10" == found[2].split()[2]


def test_logging_that_is_set_up_before_ours_survives():
    """Its format, its level and its one handler."""
    before = 'logging.basicConfig(format="theirs: %(message)s", level=logging.INFO)'
    found = lines(before=before, FORMAT="ours: %(message)s", LEVEL="debug")
    assert ("theirs: said", ["20", "1"]) == (found[0], found[1].split()[2:])


def test_logging_that_is_forced_after_ours_survives():
    """`dictConfig`, and `basicConfig` with `force`, replace our handler."""
    after = 'logging.basicConfig(format="%(otelServiceName)s: %(message)s", level=logging.INFO, force=True)'
    found = lines(after=after)
    assert ("shop: said", ["20", "1"]) == (found[0], found[1].split()[2:])


def test_without_correlation_nothing_is_set_up():
    """The format alone asks for nothing."""
    script = SCRIPT.format(before="", after="")
    (span,) = fresh.run(script, recording=False, environment={"OTEL_PYTHON_LOG_FORMAT": "%(message)s"})
    assert ["30", "0"] == span.split()[2:]


def test_the_default_format_is_the_documented_one():
    """Whoever reads logs by a pattern finds them as they were."""
    assert DEFAULT_FORMAT == LogSettings.read(Environment(ON)).format


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_PYTHON_LOG_FORMAT", "no field"), ("OTEL_PYTHON_LOG_HANDLER_LEVEL", "loud")]
)
def test_a_wrong_setting_is_an_error(name: str, value: str):
    """It names the variable."""
    with pytest.raises(SettingsError, match=name):
        LogSettings.read(Environment({**ON, name: value}))


def test_only_records_of_the_level_are_telemetry():
    """OTEL_PYTHON_LOG_HANDLER_LEVEL: the others are printed, and no more."""
    script = """
    import logging
    configure()
    logging.basicConfig(level=logging.DEBUG)
    for level in (10, 20, 30, 40):
        logging.getLogger("shop").log(level, "level %d", level)
    otelfork.flush(10)
    """
    environment = {
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
        "OTEL_PYTHON_LOG_HANDLER_LEVEL": "Warning",
    }
    assert ["log level 30 parent", "log level 40 parent"] == fresh.run(script, environment=environment)


class Begun:
    """Stands in for an exchange."""

    def __init__(self, name: str) -> None:
        self.context = trace.set_span_in_context(
            trace.NonRecordingSpan(trace.SpanContext(1, len(name), is_remote=False))
        )


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Begun]]:
    """Have exchanges remembered, whatever server runs."""
    monkeypatch.setattr(records, "Exchange", Begun)
    yield Begun
    afterwards._last.set(None)


def line(name: str = "granian.access") -> logging.LogRecord:
    return logging.LogRecord(name, 20, "", 0, "%(path)s", ({"path": "/"},), None)


def test_a_line_after_the_request_is_the_requests(begin: type[Begun]):
    """However often it is asked for; the next line, and another logger's, are nobody's."""
    begun = begin("one")
    afterwards._notice(begun)  # type: ignore[arg-type]
    first, second = line(), line()
    found = [records.request_context(each) for each in (line("shop"), first, first, second)]
    assert [None, begun.context, begun.context, None] == found


def test_exchanges_are_not_remembered_where_no_server_needs_it():
    """It costs nothing there."""
    fresh.run(
        """
        configure()
        from otelfork.request import exchange
        assert exchange.noticed is None
        import types
        sys.modules["granian"] = types.ModuleType("granian")
        from otelfork.logs import afterwards
        afterwards.watch()
        assert exchange.noticed is not None
        """
    )
    assert exchange.noticed is None
