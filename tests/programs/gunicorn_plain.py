"""A WSGI and an ASGI application without any import of otelfork; each says who answered."""

import os
import signal
import time


def app(environ, start_response):
    """Answer with this process's pid; 500 below /broken, not at all at /hang, deaf to SIGABRT too at /deaf."""
    if environ["PATH_INFO"] == "/deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])
    if environ["PATH_INFO"] in {"/deaf", "/hang"}:
        time.sleep(60)
    status = "500 Internal Server Error" if environ["PATH_INFO"].startswith("/broken") else "200 OK"
    start_response(status, [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [b"answered"]


async def asgi_app(scope, receive, send):
    """Answer likewise; the lifespan is kept."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    headers = [(b"content-type", b"text/plain"), (b"x-pid", str(os.getpid()).encode())]
    status = 500 if scope["path"].startswith("/broken") else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"answered"})


async def live(receive, send):
    """Say yes to start-up and shutdown."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
