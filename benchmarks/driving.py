"""Calls an application in this process the way its server would, and measures the CPU time of the calls alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks import applications


def drive_wsgi(app: Any, phase: str, requests: int, first: int = 0) -> float:
    """Send requests to a WSGI application, numbered from the first on; return the CPU seconds of this thread."""
    environs = applications.varied_environ if phase == "varied" else applications.environ
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        return written.append

    started = time.thread_time()
    for number in range(first, first + requests):
        body = app(environs(phase, number), start_response)
        for _ in body:
            pass
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return time.thread_time() - started


def drive_asgi(app: Any, phase: str, requests: int, first: int = 0, concurrent: int = 1) -> float:
    """Send requests to an ASGI application, one after the other or so many at a time; the thread's CPU seconds."""
    if concurrent == 1:
        return asyncio.run(_serve(app, phase, range(first, first + requests)))
    return asyncio.run(_serve_together(app, phase, requests, concurrent))


async def _serve(app: Any, phase: str, requests: range) -> float:
    scopes = applications.varied_scope if phase == "varied" else applications.scope

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    started = time.thread_time()
    for number in requests:
        await app(scopes(phase, number), receive, send)
    return time.thread_time() - started


async def _serve_together(app: Any, phase: str, requests: int, concurrent: int) -> float:
    """Keep `concurrent` requests in the air: each waits for all others at every message."""
    numbers = iter(range(requests))

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)

    async def client() -> None:
        for number in numbers:
            await app(applications.scope(phase, number), receive, send)

    started = time.thread_time()
    await asyncio.gather(*(client() for _ in range(concurrent)))
    return time.thread_time() - started
