"""A plain ASGI application with our one line, and a tracer and a counter taken while it is imported.

It knows no lifespan, like Django's: uvicorn then sends no shutdown message.
"""

import os

from opentelemetry import metrics, trace

from otelfork import OtelMiddleware

tracer = trace.get_tracer("app")
counter = metrics.get_meter("app").create_counter("app.work")


async def answer(scope, receive, send):
    """Do a bit of work and answer with the pid."""
    if scope["type"] != "http":
        raise ValueError(f"only http is spoken here, not {scope['type']}")
    with tracer.start_as_current_span("work"):
        counter.add(1)
    headers = [(b"content-type", b"text/plain"), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done\n"})


app = OtelMiddleware(answer)
