"""The plain WSGI application, configured and warmed up while it is imported.

A preloading master then has live telemetry when it forks: a generation, a thread, a connection.
"""

import otelfork

otelfork.configure()

from wsgi_app import app, tracer  # noqa: E402

__all__ = ["app"]

with tracer.start_as_current_span("warm up"):
    pass
otelfork.flush(5)
