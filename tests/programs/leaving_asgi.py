"""The ASGI application of `leaving_wsgi`: `/hold` waits for the loop, `/stuck` blocks it. It has a lifespan."""

import asyncio
import os
import time

from leaving_wsgi import begun, counter, tracer

from otelfork import OtelMiddleware


async def answer(scope, receive, send):
    """Do a bit of work, wait as asked, and answer with the pid."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    begun(dict(scope["headers"]).get(b"traceparent", b"-").decode(), scope["path"])
    with tracer.start_as_current_span("work"):
        counter.add(1)
    if scope["path"] == "/hold":
        await asyncio.sleep(60)
    elif scope["path"] == "/stuck":
        time.sleep(60)  # noqa: ASYNC251 - what it is for
    elif scope["path"] == "/slow":
        await asyncio.sleep(0.3)
    headers = [(b"content-type", b"text/plain"), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done\n"})


app = OtelMiddleware(answer)
