# The reference's "Basic Instrumentation", word for word; the last line is the application.
from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor

# Instrument Gunicorn
instrumentor = GunicornInstrumentor()
instrumentor.instrument()

# Your WSGI app...
from gunicorn_plain import app, asgi_app
