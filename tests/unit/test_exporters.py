"""Exporters by name: imported early, made late, and free of what a child must not share."""

from __future__ import annotations

import json
import sys

import pytest
from tests.fresh import counted, outcome, run

from otelfork import exporters
from otelfork.receiver import Receiver
from otelfork.settings import Environment, Settings, SettingsError

PROTOCOLS = ("http/protobuf", "grpc")
RECORD = """
    from opentelemetry._logs import LogRecord
    otelfork.configure()
    tracer, counter, logger = trace.get_tracer("t"), metrics.get_meter("m").create_counter("c"), get_logger("l")
    def record():
        span("s", tracer)
        counter.add(1)
        logger.emit(LogRecord(body="b"))
"""


def factories(**variables):
    """Return the factories of an environment."""
    return exporters.factories(Settings.read(Environment(variables)))


@pytest.fixture
def receiver():
    """An OTLP receiver on loopback."""
    with Receiver() as running:
        yield running


def test_nothing_named_is_the_console():
    """Without any setting telemetry is seen on standard output, each signal as JSON."""
    lines = run(RECORD + "    record()\n    otelfork.flush(5)\n    os._exit(0)")
    text = "\n".join(lines)
    decoder, found = json.JSONDecoder(), []
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        found.append("metric" if "resource_metrics" in value else value.get("name") or value["body"])
        text = text.lstrip()[end:]
    assert sorted(["metric", "s", "b"]) == sorted(found)


def test_each_signal_has_its_list():
    """`console,console` is one, `none` is none, `otlp` beside `console` is two."""
    made = factories(
        OTEL_TRACES_EXPORTER="otlp,console", OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="console,console"
    )
    assert {"traces": 2, "metrics": 0, "logs": 1} == {signal: len(each) for signal, each in made.items()}


def test_an_unknown_name_is_an_error_that_names_what_there_is():
    """A misspelt exporter is told at once."""
    with pytest.raises(SettingsError, match=r"OTEL_TRACES_EXPORTER='oltp' is not valid: expected one of otlp, console"):
        factories(OTEL_TRACES_EXPORTER="oltp")


def test_a_missing_extra_is_named(monkeypatch):
    """Asking for a part without its extra says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'otelfork\[otlp\]'"):
        factories(OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_all_signals_arrive(receiver, protocol):
    """A span, a point and a log record over real OTLP."""
    run(
        RECORD + "    record()\n    out(otelfork.flush(10))\n    os._exit(0)",
        environment=receiver.environment(protocol),
    )
    assert (["s"], ["c"], 1) == (
        [span.name for span in receiver.spans],
        [point.name for point in receiver.points],
        len(receiver.logs),
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("answering", [True, False])
def test_nothing_is_imported_after_configure(receiver, protocol, answering):
    """A fork during an import would leave the child an import lock that nobody releases."""
    environment = dict(receiver.environment(protocol), OTEL_EXPORTER_OTLP_TIMEOUT="1")
    if not answering:
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    lines = run(
        RECORD
        + "    known = set(sys.modules)\n    record()\n    otelfork.flush(10)\n"
        + "    out(sorted(set(sys.modules) - known))\n    os._exit(0)",
        environment=environment,
    )
    assert ["[]"] == lines


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dead_collector_costs_one_line_of_log(protocol):
    """The exporters' own lines are heard and reduced to one, whatever the signal."""
    status, _, errors = outcome(
        RECORD + "    import logging\n    logging.basicConfig(level=logging.INFO)\n"
        "    for _ in range(3):\n        record()\n        otelfork.flush(4)\n    os._exit(0)",
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        },
    )
    lines = [line for line in errors.splitlines() if line]
    assert (0, 1, True) == (status, len(lines), "telemetry cannot be delivered" in errors), errors


def test_a_child_closes_its_copy_of_the_connection_and_the_parents_lives_on(receiver):
    """The child has no socket of the parent's; the parent's next export needs no new connection."""
    lines = run(
        RECORD
        + """
    span("of the parent")
    otelfork.flush(10)
    def own():
        return {os.readlink(f"/proc/self/fd/{number}") for number in forks._descriptors}
    before = own()
    def child():
        links = set()
        for number in os.listdir("/proc/self/fd"):
            try:
                links.add(os.readlink("/proc/self/fd/" + number))
            except OSError:
                pass
        forks.current()
        out("shared", len(before & links))
        span("of the child")
    reaped([forked(child)])
    span("of the parent again")
    otelfork.flush(10)
    out("kept", bool(before), own() == before)
    os._exit(0)
    """,
        environment=receiver.environment("http/protobuf"),
    )
    assert (["shared 0", "kept True True"], 3) == (lines, len(receiver.spans))


def test_a_storm_over_http_loses_nothing(receiver):
    """Twenty children, each forked while the parent exports, each with a span of its own."""
    run(
        RECORD
        + """
    for number in range(20):
        span(f"parent {number}")
        reaped([forked(lambda: span(f"child {number}"))])
    out(otelfork.flush(10))
    os._exit(0)
    """,
        environment=dict(receiver.environment("http/protobuf"), OTEL_BSP_SCHEDULE_DELAY="1"),
    )
    expected = {f"{who} {number}": 1 for who in ("parent", "child") for number in range(20)}
    assert expected == counted([span.name for span in receiver.spans])


def test_an_installed_exporter_is_found_by_its_entry_point(monkeypatch):
    """Whatever OpenTelemetry package brings an exporter: its name is enough."""

    class Entry:
        def load(self):
            return "loaded"

    monkeypatch.setattr(
        exporters.metadata, "entry_points", lambda **where: [Entry()] if where["name"] == "mine" else []
    )
    assert ["loaded"] == factories(OTEL_TRACES_EXPORTER="mine")["traces"]


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_every_compression_of_the_specification_arrives(protocol: str, compression: str) -> None:
    """`none` is a value, over gRPC too, where the standard exporter refuses it."""
    with Receiver() as receiver:
        run(
            "otelfork.configure(); span('work'); assert otelfork.flush(10)",
            environment={**receiver.environment(protocol), "OTEL_EXPORTER_OTLP_COMPRESSION": compression},
        )
        names = [span.name for span in receiver.spans]
    assert ["work"] == names
