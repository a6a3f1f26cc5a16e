"""An ASGI program for real servers: the same application bare under /bare and traced under /traced, what was recorded at /seen."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

sys.path.insert(0, os.environ["TESTS_ROOT"])

from tests.unit.recording import Recording

RECORDING = Recording()
KIND = [(b"content-type", b"text/plain")]


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer by path; the same code behind both sides."""
    path = scope["path"]
    if scope["type"] == "websocket":
        await _echo_socket(path, receive, send)
        return
    if path == "/raise":
        raise ValueError("before")
    if path == "/empty":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    data = b""
    if path == "/echo":
        more = True
        while more:
            message = await receive()
            data += message.get("body", b"")
            more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": KIND})
    if path == "/echo":
        await send({"type": "http.response.body", "body": b"%d" % len(data)})
        return
    await send({"type": "http.response.body", "body": b"one ", "more_body": True})
    if path == "/fail":
        raise ValueError("midway")
    await send({"type": "http.response.body", "body": b"two"})


async def _echo_socket(path: str, receive: Any, send: Any) -> None:
    await receive()
    if path == "/refused":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})


traced = RECORDING.asgi(application)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Send a request to one side, or tell what was seen."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/seen":
        spans = [{"name": span.name, **(span.attributes or {})} for span in RECORDING.spans]
        told = json.dumps({"spans": spans, "active": RECORDING.active}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": KIND})
        await send({"type": "http.response.body", "body": told})
        return
    side = "/" + path.split("/")[1]
    inner = {**scope, "path": path.removeprefix(side), "raw_path": None}
    await (traced if side == "/traced" else application)(inner, receive, send)
