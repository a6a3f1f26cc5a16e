"""What to record and where to send it, by the standard variables; bad values are told at once."""

from __future__ import annotations

import logging
import math

import pytest
from tests.fresh import outcome

from otelfork.settings import Environment, Settings, SettingsError


def read(**variables):
    """Read settings from these variables alone."""
    return Settings.read(Environment(variables))


def test_the_defaults_are_those_of_the_specification():
    """Queues, batches, delays in seconds; the exporter is the console."""
    settings = read()
    assert (2048, 512, 5.0, 30.0, 1.0, 60.0, 30.0, 3.0, {"traces": ("console",)}) == (
        settings.spans.queue_size,
        settings.spans.batch_size,
        settings.spans.delay,
        settings.spans.timeout,
        settings.logs.delay,
        settings.metric_interval,
        settings.metric_timeout,
        settings.exit_timeout,
        {"traces": settings.exporters["traces"]},
    )


@pytest.mark.parametrize("name", ["ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT", "LOGS_ENDPOINT"])
def test_any_endpoint_means_otlp_for_what_is_not_named(name):
    """Who says where a collector is wants to send there."""
    settings = read(**{f"OTEL_EXPORTER_OTLP_{name}": "http://localhost:4318", "OTEL_LOGS_EXPORTER": "console"})
    assert {"traces": ("otlp",), "metrics": ("otlp",), "logs": ("console",)} == settings.exporters


@pytest.mark.parametrize(
    ("variables", "protocol"),
    [
        ({}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http/protobuf"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "grpc",
        ),
    ],
)
def test_the_protocol_is_as_named_or_told_from_the_port(variables, protocol):
    """A signal's own variable stands before the common one, both before the port."""
    assert protocol == read(**variables).protocols["traces"]


@pytest.mark.parametrize("prefix", ["OTEL_BSP", "OTEL_BLRP"])
def test_a_small_queue_has_small_batches(prefix):
    """The default batch is never larger than the queue."""
    settings = read(**{f"{prefix}_MAX_QUEUE_SIZE": "100"})
    found = settings.spans if prefix == "OTEL_BSP" else settings.logs
    assert (100, 100) == (found.queue_size, found.batch_size)


def test_a_timeout_of_zero_is_no_limit():
    """And not a time in which nothing can be exported."""
    settings = read(OTEL_BSP_EXPORT_TIMEOUT="0", OTEL_BLRP_EXPORT_TIMEOUT="0", OTEL_METRIC_EXPORT_TIMEOUT="0")
    assert {math.inf} == {settings.spans.timeout, settings.logs.timeout, settings.metric_timeout}


def test_none_is_no_exporter():
    """The signal is off."""
    assert () == read(OTEL_TRACES_EXPORTER="none").exporters["traces"]


def test_signals_brought_by_the_program_have_no_exporter_of_the_environment():
    """The others keep theirs."""
    assert {"traces": (), "metrics": ("console",), "logs": ("console",)} == read().without(["traces"]).exporters


BAD = {
    "OTEL_SDK_DISABLED": "maybe",
    "OTEL_TRACES_EXPORTER": "none,console",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "udp",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:port",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://localhost",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "zip",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "sometimes",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "sum",
    "OTEL_METRICS_EXEMPLAR_FILTER": "with_sampled_trace",
    "OTEL_BSP_MAX_QUEUE_SIZE": "0",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096",
    "OTEL_BSP_SCHEDULE_DELAY": "-1",
    "OTEL_BSP_EXPORT_TIMEOUT": "never",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "many",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "0",
    "OTEL_BLRP_SCHEDULE_DELAY": "0",
    "OTEL_BLRP_EXPORT_TIMEOUT": "-1",
    "OTEL_METRIC_EXPORT_INTERVAL": "0",
    "OTEL_METRIC_EXPORT_TIMEOUT": "x",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "-1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "long",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1.5",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "x",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "x",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "x",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "x",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "x",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "x",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": "x",
    "OTELFORK_EXIT_TIMEOUT": "-1",
    "OTELFORK_SIGNALS": "some",
}


@pytest.mark.parametrize("variable", BAD)
def test_a_bad_value_is_an_error_that_names_variable_value_and_expectation(variable):
    """Loud and early, not a line in the log of a worker."""
    variables = {variable: BAD[variable]}
    if variable == "OTEL_TRACES_SAMPLER_ARG":
        variables["OTEL_TRACES_SAMPLER"] = "traceidratio"
    with pytest.raises(SettingsError) as raised:
        read(**variables)
    assert (variable, BAD[variable], True) == (raised.value.name, raised.value.value, bool(raised.value.expected))


@pytest.mark.parametrize("ratio", ["1.5", "-0.1", "half"])
def test_the_ratio_of_a_ratio_sampler_is_checked(ratio):
    """The SDK would take 1.0 for it."""
    with pytest.raises(SettingsError, match="OTEL_TRACES_SAMPLER_ARG"):
        read(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=ratio)


@pytest.mark.parametrize("value", ["ALWAYS_ON", ""])
def test_what_the_settings_accept_the_sdk_does_not_refuse_later(value):
    """Values are without case, blank ones are absent: no worker fails over what `configure` let pass."""
    status, lines, errors = outcome(
        "configure()\nspan('s')\nout(otelfork.flush(5))\nos._exit(0)",
        environment={
            "OTEL_METRICS_EXEMPLAR_FILTER": value,
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "DELTA" if value else "",
            "OTEL_TRACES_SAMPLER": value,
            "OTEL_ATTRIBUTE_COUNT_LIMIT": " 9 " if value else "",
        },
    )
    assert (0, ["span s parent", "True"], "") == (status, lines, errors)


@pytest.mark.parametrize(
    "bad", [{"OTEL_BSP_SCHEDULE_DELAY": "soon"}, {"OTEL_TRACES_SAMPLER": "nonesuch"}, {"OTEL_PYTHON_ID_GENERATOR": "x"}]
)
def test_configure_is_loud_and_the_one_line_middleware_logs_once(bad):
    """`configure` raises; `OtelMiddleware` says it once as an error, and the application answers untraced."""
    status, lines, errors = outcome(
        """
        import logging
        from wsgiref.util import setup_testing_defaults
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
        try:
            otelfork.configure()
        except otelfork.SettingsError as error:
            out("raised", error.name)
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"answered"]
        traced = otelfork.OtelMiddleware(application)
        for _ in range(3):
            environ = {}
            setup_testing_defaults(environ)
            out(b"".join(traced(environ, lambda status, headers: out(status))))
        out(threads())
        """,
        environment=bad,
    )
    said = [line for line in errors.splitlines() if line]
    assert (0, [f"raised {next(iter(bad))}"], 1, True, "[]") == (
        status,
        lines[:1],
        len(said),
        said[0].startswith(f"ERROR {next(iter(bad))}="),
        lines[-1],
    ), errors


def test_a_disabled_sdk_records_nothing_and_starts_nothing():
    """OTEL_SDK_DISABLED: no thread, no span, and everything callable."""
    status, lines, errors = outcome(
        """
        configure()
        span("s")
        metrics.get_meter("m").create_counter("c").add(1)
        out(otelfork.flush(1), threads())
        """,
        environment={"OTEL_SDK_DISABLED": "true"},
    )
    assert (0, ["True []"], "") == (status, lines, errors)


def test_nothing_is_logged_by_reading(caplog):
    """Whoever reads decides who is told."""
    with caplog.at_level(logging.DEBUG), pytest.raises(SettingsError):
        read(OTEL_BSP_SCHEDULE_DELAY="soon")
    assert [] == caplog.records


def test_headers_that_are_no_pairs_are_told_without_their_value():
    """They hold tokens."""
    with pytest.raises(SettingsError) as caught:
        read(OTEL_EXPORTER_OTLP_HEADERS="secret")
    assert ("OTEL_EXPORTER_OTLP_HEADERS", False) == (caught.value.name, "secret" in str(caught.value))
