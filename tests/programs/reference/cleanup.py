# The reference's "Cleanup", word for word; the last line is the application.
from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor

instrumentor = GunicornInstrumentor()
instrumentor.uninstrument()  # Remove instrumentation

from gunicorn_plain import app, asgi_app
