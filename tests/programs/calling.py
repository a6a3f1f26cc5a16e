"""Makes requests in process for programs without a server: a WSGI call with a traceparent of its own each.

Each request is told on standard output as a line `sent <traceparent> <pid>`, written in one piece, so that the
lines of many processes do not mix and nothing stays in a buffer when a process leaves through `os._exit`.
"""

from __future__ import annotations

import os
from wsgiref.util import setup_testing_defaults

import wsgi_app


def send(number: int) -> None:
    """Make `number` requests in this process, one after the other."""
    for _ in range(number):
        traceparent = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
        environ: dict[str, object] = {"HTTP_TRACEPARENT": traceparent, "PATH_INFO": "/items/7"}
        setup_testing_defaults(environ)
        body = wsgi_app.app(environ, lambda status, headers, exc_info=None: None)
        try:
            for _chunk in body:
                pass
        finally:
            getattr(body, "close", lambda: None)()
        os.write(1, f"sent {traceparent} {os.getpid()}\n".encode())


def shares(requests: int, parts: int) -> list[int]:
    """Divide requests into parts that differ by at most one."""
    whole, rest = divmod(requests, parts)
    return [whole + (part < rest) for part in range(parts)]
