"""The start-up line: seen without any logging, once, and not where somebody has decided otherwise."""

from __future__ import annotations

import pytest
from tests.fresh import outcome

CONFIGURE = "import otelfork\notelfork.configure()\nos._exit(0)"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://ann:secret@collector:4318", "OTEL_SERVICE_NAME": "shop"}


def said(script: str, environment: dict[str, str] | None = None) -> list[str]:
    """Return the start-up lines on standard error."""
    _, _, errors = outcome(script, recording=False, environment=environment, announced=True)
    return [line for line in errors.splitlines() if "telemetry:" in line]


def test_a_program_without_logging_shows_the_line() -> None:
    """Python's last resort shows warnings only; the line goes to standard error, with what to set next."""
    expected = (
        "otelfork telemetry: traces, metrics, logs to console; OTEL_SERVICE_NAME is not set; "
        "OTEL_EXPORTER_OTLP_ENDPOINT names a collector"
    )
    assert [expected] == said(CONFIGURE)


def test_the_endpoint_is_told_without_its_password() -> None:
    """Where the signals go, by which protocol, and whose they are."""
    expected = "otelfork telemetry: traces, metrics, logs to otlp at collector:4318 (http/protobuf); service shop"
    assert [expected] == said(CONFIGURE, ENDPOINT)


@pytest.mark.parametrize(
    "first",
    [
        "import logging; logging.basicConfig(level=logging.WARNING)",
        "import logging; logging.getLogger('otelfork').setLevel(logging.ERROR)",
        "sys.stderr = None",
    ],
)
def test_whoever_set_logging_up_decides(first: str) -> None:
    """Logging at WARNING, a level of our logger, no standard error: no line, and no error either."""
    assert [] == said(f"{first}\n{CONFIGURE}")


def test_what_is_given_in_code_is_not_told_as_the_environments() -> None:
    """Exporters and providers of the program's own."""
    traces = 'import otelfork\notelfork.configure(service_name="shop", exporters={"traces": [list]})\nos._exit(0)'
    everything = "import otelfork\notelfork.configure(providers=otelfork.Providers)\nos._exit(0)"
    assert (
        ["otelfork telemetry: traces to what the program gives; metrics, logs to console; service shop"],
        ["otelfork telemetry: by what the program gives"],
    ) == (said(traces), said(everything))


def test_a_child_says_nothing_new() -> None:
    """A forked child's telemetry is its parent's, said by the parent."""
    script = "import otelfork\notelfork.configure()\npid = os.fork()\nos.waitpid(pid, 0) if pid else None\nos._exit(0)"
    assert 1 == len(said(script))


def test_a_successor_in_a_server_says_nothing_new() -> None:
    """A worker whose run has recorded before does not repeat what its siblings said."""
    script = """
import otelfork, subprocess
from opentelemetry import trace
otelfork.configure(exporters={"traces": [], "metrics": [], "logs": []})
trace.get_tracer("t").start_span("s").end()
code = "import otelfork, os; otelfork.configure(); os._exit(0)"
subprocess.run([sys.executable, "-c", code], env={**os.environ})
os._exit(0)
"""
    assert 1 == len(said(script))
