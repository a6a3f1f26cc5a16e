"""The instrumentation of gunicorn, by its usual name. It is otelfork's; see `otelfork.servers.gunicorn_instrumentor`."""

from otelfork.servers.gunicorn_instrumentor import GunicornInstrumentor

__all__ = ["GunicornInstrumentor"]
