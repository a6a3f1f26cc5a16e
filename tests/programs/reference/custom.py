# The reference's "Custom Configuration", word for word; its placeholder is followed by what stands for it, the last line is the application.
import os
from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.metrics import MeterProvider

# Set environment variables
os.environ['OTEL_SERVICE_NAME'] = 'my-gunicorn-app'
os.environ['OTEL_GUNICORN_TRACE_WORKERS'] = 'true'

# Configure providers
# ... setup TracerProvider and MeterProvider ...
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor

resource = Resource.create({"custom.provider": True})
tracer_provider = TracerProvider(resource=resource)
tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracer_provider)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource))

# Instrument
GunicornInstrumentor().instrument()

from gunicorn_plain import app, asgi_app
