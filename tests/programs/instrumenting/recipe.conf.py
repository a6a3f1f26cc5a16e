"""OpenTelemetry's `post_fork` recipe beside the instrumentor: the recipe's provider carries the spans."""

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def post_fork(server, worker):
    """Set up tracing in each worker, as the recipe does."""
    trace.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": "api-service"})))
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


GunicornInstrumentor().instrument()
