"""A plain WSGI application that knows nothing of otelfork: a tracer and a counter of the API, taken while it is imported."""

import os

from opentelemetry import metrics, trace

tracer = trace.get_tracer("app")
counter = metrics.get_meter("app").create_counter("app.work")


def app(environ, start_response):
    """Do a bit of work and answer with the pid."""
    with tracer.start_as_current_span("work"):
        counter.add(1)
    start_response("200 OK", [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [b"done\n"]


application = app
