"""A configuration file that instruments the server which reads it."""

from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor

GunicornInstrumentor().instrument()
