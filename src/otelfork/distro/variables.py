"""Variables that otelfork reads and OpenTelemetry's packages do not list: `opentelemetry-instrument` makes options of them.

Entry point `opentelemetry_environment_variables: otelfork`; only names that begin with `OTEL_` become options.
"""

OTEL_EXPORTER_JAEGER_ENDPOINT = "OTEL_EXPORTER_JAEGER_ENDPOINT"
OTEL_EXPORTER_JAEGER_USER = "OTEL_EXPORTER_JAEGER_USER"
OTEL_EXPORTER_JAEGER_PASSWORD = "OTEL_EXPORTER_JAEGER_PASSWORD"  # noqa: S105 - the name of a variable
OTEL_EXPORTER_ZIPKIN_ENDPOINT = "OTEL_EXPORTER_ZIPKIN_ENDPOINT"
OTEL_GUNICORN_TRACE_WORKERS = "OTEL_GUNICORN_TRACE_WORKERS"
