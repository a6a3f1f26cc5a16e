"""The plain WSGI application, warmed up while it is imported: a preloading master has live telemetry when it forks."""

from wsgi_app import app, tracer

__all__ = ["app"]

with tracer.start_as_current_span("warm up"):
    pass
