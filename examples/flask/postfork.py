"""The shop in a project that follows OpenTelemetry's recipe for forking servers: a @postfork hook.

The hook may stay. The provider that it puts in place sends the spans of the requests and of the application,
each once; the metrics, which the recipe does not mention, are otelfork's. Nothing else changes when it goes.
"""

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from uwsgidecorators import postfork

from app import app

__all__ = ["app"]


@postfork
def init_tracing() -> None:
    """Build this worker's provider; uWSGI calls this in each worker just after the fork."""
    trace.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": "shop"})))
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
