"""What is compared: each variant wraps the bare application and can drain what it has queued.

A variant is built in a process of its own (`child`, `served`); only that process imports it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

Built = tuple[Any, Callable[[], object]]
"""The application, and what hands over everything that is queued. Where nothing is sent it may return the requests measured
so far, as an int."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to trace or measure an application."""

    name: str
    label: str
    build: Callable[[Any, str], Built]
    needs: str = "otelfork"
    """The module without which it is left out."""
    interfaces: tuple[str, ...] = ("wsgi", "asgi")
    spans: bool = True
    points: bool = True
    """Whether spans and points have to arrive at the sink."""
    extra: bool = False
    """Whether it is otelfork with something more, which only the section `extras` compares."""
    strict: bool = True
    """Whether an unsampled request must not arrive (vendors send them to their agents)."""

    def spans_sent(self, interface: str) -> int:
        """Return how many spans it sends for one request: contrib's ASGI default has one for each message, too."""
        return 5 if (self.name, interface) == ("contrib", "asgi") else int(self.spans)

    @property
    def installed(self) -> bool:
        """Whether it can be built here."""
        try:
            return find_spec(self.needs) is not None
        except ModuleNotFoundError:  # not even the package around it
            return False


def _bare(app: Any, interface: str) -> Built:
    return app, lambda: None


def _otelfork(app: Any, interface: str) -> Built:
    import otelfork

    return otelfork.OtelMiddleware(app), lambda: otelfork.flush(60)


def _with(**variables: str) -> Callable[[Any, str], Built]:
    def build(app: Any, interface: str) -> Built:
        os.environ.update(variables)
        return _otelfork(app, interface)

    return build


def _otelfork_own(app: Any, interface: str) -> Built:
    from otelfork import OtelMiddleware

    traces, metrics, drain = _providers()
    return OtelMiddleware(app, tracer_provider=traces, meter_provider=metrics), drain


def _otelfork_public(app: Any, interface: str) -> Built:
    os.environ["OTELFORK_PUBLIC_NAMES_ONLY"] = "true"
    from otelfork import OtelMiddleware

    traces, metrics, drain = _providers(null=True)
    return OtelMiddleware(app, tracer_provider=traces, meter_provider=metrics), drain


def _sdk(app: Any, interface: str) -> Built:
    return _by_hand(app, interface, *_providers())


def _sdk_null(app: Any, interface: str) -> Built:
    return _by_hand(app, interface, *_providers(null=True))


def _by_hand(app: Any, interface: str, traces: Any, metrics: Any, drain: Callable[[], object]) -> Built:
    from benchmarks.by_hand import SdkAsgi, SdkWsgi

    return (SdkWsgi if interface == "wsgi" else SdkAsgi)(app, traces, metrics), drain


def _contrib(app: Any, interface: str) -> Built:
    traces, metrics, drain = _providers()
    if interface == "wsgi":
        from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as Wsgi

        return Wsgi(app, tracer_provider=traces, meter_provider=metrics), drain
    return _contrib_asgi(app, traces, metrics, None), drain


def _contrib_one(app: Any, interface: str) -> Built:
    traces, metrics, drain = _providers()
    return _contrib_asgi(app, traces, metrics, ["receive", "send"]), drain


def _contrib_asgi(app: Any, traces: Any, metrics: Any, exclude_spans: Any) -> Any:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as Asgi

    excluded = os.environ.get("OTEL_PYTHON_EXCLUDED_URLS")
    return Asgi(
        app,
        excluded_urls=excluded,
        tracer_provider=traces,
        meter_provider=metrics,
        exclude_spans=exclude_spans,
    )


def _providers(*, null: bool = False) -> tuple[Any, Any, Callable[[], object]]:
    """Build the SDK's providers with its own batch processor and periodic reader."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    resource = Resource.create()
    traces = TracerProvider(resource=resource)
    if null:

        class Null(SpanExporter):
            def export(self, spans: Any) -> SpanExportResult:
                return SpanExportResult.SUCCESS

        traces.add_span_processor(BatchSpanProcessor(Null()))
        metrics = MeterProvider([InMemoryMetricReader()], resource)
        return traces, metrics, traces.force_flush
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
    return traces, metrics, lambda: traces.force_flush(60_000) and metrics.force_flush(60_000)


def _prometheus(app: Any, interface: str) -> Built:
    import prometheus_client

    from benchmarks.by_hand import PrometheusAsgi, PrometheusWsgi

    def count() -> int:
        labels = {"method": "GET", "status": "200"}
        return int(
            prometheus_client.REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) or 0
        )

    return (PrometheusWsgi if interface == "wsgi" else PrometheusAsgi)(app), count


def _ddtrace(app: Any, interface: str) -> Built:
    import ddtrace

    if interface == "wsgi":
        from ddtrace.contrib.wsgi import DDWSGIMiddleware

        return DDWSGIMiddleware(app), ddtrace.tracer.flush
    from ddtrace.contrib.asgi import TraceMiddleware

    return TraceMiddleware(app), ddtrace.tracer.flush


def _logfire(app: Any, interface: str) -> Built:
    import logfire
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    endpoint = os.environ.pop("OTEL_EXPORTER_OTLP_ENDPOINT")  # logfire would add exporters of its own for it
    logfire.configure(
        send_to_logfire=False,
        distributed_tracing=True,  # without it each process warns of the first incoming trace
        console=False,
        additional_span_processors=[BatchSpanProcessor(OTLPSpanExporter(endpoint + "/v1/traces"))],
        metrics=logfire.MetricsOptions(
            additional_readers=[PeriodicExportingMetricReader(OTLPMetricExporter(endpoint + "/v1/metrics"))]
        ),
    )
    wrap = logfire.instrument_wsgi if interface == "wsgi" else logfire.instrument_asgi
    return wrap(app), lambda: logfire.force_flush(60_000)


def _sentry(app: Any, interface: str) -> Built:
    import sentry_sdk

    sentry_sdk.init(
        dsn=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"].replace("http://", "http://key@") + "/1",
        traces_sample_rate=1.0,
        transport_queue_size=100_000,
    )
    if interface == "wsgi":
        from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware

        return SentryWsgiMiddleware(app), lambda: sentry_sdk.flush(60)
    from sentry_sdk.integrations.asgi import SentryAsgiMiddleware

    return SentryAsgiMiddleware(app), lambda: sentry_sdk.flush(60)


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("bare", "bare application", _bare, spans=False, points=False),
        Variant("otelfork", "otelfork", _otelfork),
        Variant("prometheus", "prometheus_client only", _prometheus, "prometheus_client", spans=False),
        Variant("sdk", "the SDK by hand", _sdk),
        Variant("contrib", "contrib, default", _contrib, "opentelemetry.instrumentation.wsgi"),
        Variant("contrib-one", "contrib, one span", _contrib_one, "opentelemetry.instrumentation.asgi", ("asgi",)),
        Variant("otelfork-own", "otelfork, user's providers", _otelfork_own),
        Variant(
            "otelfork-public", "otelfork by public names, null exporter", _otelfork_public, spans=False, points=False
        ),
        Variant("sdk-null", "the SDK by hand, null exporter", _sdk_null, spans=False, points=False),
        Variant(
            "otelfork-system",
            "otelfork, system attributes",
            _with(OTELFORK_SYSTEM_ATTRIBUTES="true"),
            "psutil",
            extra=True,
        ),
        Variant(
            "otelfork-profiles",
            "otelfork, profiles",
            _with(PYROSCOPE_SERVER_ADDRESS="http://127.0.0.1:9"),
            "pyroscope",
            extra=True,
        ),
        Variant("ddtrace", "ddtrace", _ddtrace, "ddtrace", points=False, strict=False),
        Variant("logfire", "logfire", _logfire, "logfire"),
        Variant("sentry", "sentry", _sentry, "sentry_sdk", points=False, strict=False),
    )
}


def environment(endpoint: str) -> dict[str, str]:
    """Return the variables every variant gets: all send to one sink, none of them drops for want of room."""
    port = endpoint.rpartition(":")[2]
    return {
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        "OTEL_BSP_MAX_QUEUE_SIZE": "200000",
        "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{port}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
        "LOGFIRE_IGNORE_NO_CONFIG": "1",
    }
