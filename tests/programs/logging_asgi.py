"""An ASGI application that logs a line for each request; `/boom` raises, so that the server logs an exception."""

import logging
import os

from otelfork import OtelMiddleware

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger("shop")


async def answer(scope, receive, send):
    """Log a line and answer with the pid, or fail."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    if scope["path"] == "/boom":
        raise ValueError("boom")
    logger.info("served %s", scope["path"], extra={"shelf": 7})
    headers = [(b"content-type", b"text/plain"), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done\n"})


app = OtelMiddleware(answer)
