"""Applications that use the processor: in `burn` for a traced request, whose span gets another name, else in `untraced`.

The master records a span of its own while it imports them.
"""

import os
import time

from opentelemetry import trace

from otelfork import OtelMiddleware

SECONDS = 0.05


def spin(seconds):
    """Use the processor."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(200))


def burn():
    """Work for a request, and give its span another name meanwhile."""
    spin(SECONDS / 2)
    trace.get_current_span().update_name(f"renamed by {os.getpid()}")
    spin(SECONDS / 2)


def untraced():
    """Work for a request without a span."""
    spin(SECONDS)


def wsgi(environ, start_response):
    """Work and answer with the pid."""
    (untraced if environ["PATH_INFO"] == "/health" else burn)()
    start_response("200 OK", [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [b"done\n"]


async def asgi(scope, receive, send):
    """The same, for ASGI."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    (untraced if scope["path"] == "/health" else burn)()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-pid", str(os.getpid()).encode())]})
    await send({"type": "http.response.body", "body": b"done\n"})


wsgi_app, asgi_app = OtelMiddleware(wsgi), OtelMiddleware(asgi)
with trace.get_tracer("profiled").start_as_current_span("imported"):
    pass
