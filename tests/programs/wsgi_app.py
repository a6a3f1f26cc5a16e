"""A plain WSGI application with our one line, and a tracer and a counter taken while it is imported."""

import os

from opentelemetry import metrics, trace

from otelfork import OtelMiddleware

tracer = trace.get_tracer("app")
counter = metrics.get_meter("app").create_counter("app.work")


def answer(environ, start_response):
    """Do a bit of work and answer with the pid."""
    with tracer.start_as_current_span("work"):
        counter.add(1)
    start_response("200 OK", [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [b"done\n"]


app = OtelMiddleware(answer)
