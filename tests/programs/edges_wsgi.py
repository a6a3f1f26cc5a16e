"""A WSGI program for real servers: the same application bare under /bare and traced under /traced, what was recorded at /seen."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ["TESTS_ROOT"])

from tests.unit.recording import Recording

RECORDING = Recording()
FILE = Path(os.environ["TESTS_FILE"])
closes = {"/bare": 0, "/traced": 0}
sendfiles = {"/bare": 0, "/traced": 0}


class Blocks:
    """A streamed body that counts its closes."""

    def __init__(self, side: str, fail: bool = False) -> None:
        self.side, self.fail = side, fail

    def __iter__(self) -> Iterator[bytes]:
        yield b"one "
        if self.fail:
            raise ValueError("midway")
        yield b"two"

    def close(self) -> None:
        closes[self.side] += 1


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer by path; the same code behind both sides."""
    side, path = environ["test.side"], environ["PATH_INFO"]
    kind = [("Content-Type", "text/plain")]
    if path == "/raise":
        raise ValueError("before")
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    if path == "/echo":
        # wsgiref's input has no end of its own: it has to be read by the announced length.
        length = environ.get("CONTENT_LENGTH")
        data = environ["wsgi.input"].read(*([int(length)] if length else []))
        start_response("200 OK", kind)
        return [b"%d" % len(data)]
    if path in {"/file", "/sized-file"}:
        size = [("Content-Length", str(FILE.stat().st_size))] if path == "/sized-file" else []
        start_response("200 OK", [*kind, *size])
        return environ["wsgi.file_wrapper"](FILE.open("rb"))
    write = start_response("200 OK", kind)
    if path == "/write":
        write(b"first ")
        return [b"second"]
    if path in {"/blocks", "/fail"}:
        return Blocks(side, fail=path == "/fail")
    return [b"listed"]


traced = RECORDING.wsgi(application)


def app(environ: dict[str, Any], start_response: Any) -> Any:
    """Send a request to one side, or tell what was seen."""
    path = environ["PATH_INFO"]
    if path == "/seen":
        spans = [{"name": span.name, **(span.attributes or {})} for span in RECORDING.spans]
        points = RECORDING.points("http.server.response.body.size")
        sizes = {str(point.attributes.get("http.response.status_code")): point.sum for point in points}
        told = {"spans": spans, "sizes": sizes, "active": RECORDING.active, "closes": closes, "sendfiles": sendfiles}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told).encode()]
    side = "/" + path.split("/")[1]
    environ["test.side"], environ["PATH_INFO"] = side, path.removeprefix(side)
    current.append(side)
    return (traced if side == "/traced" else application)(environ, start_response)


current: list[str] = []


def _count_sendfile() -> None:
    """Note which responses gunicorn really sent with sendfile."""
    from gunicorn.http.wsgi import Response

    original = Response.sendfile

    def counted(self: Any, body: Any) -> Any:
        done = original(self, body)
        sendfiles[current[-1]] += bool(done)
        return done

    Response.sendfile = counted


if "gunicorn" in sys.modules:
    _count_sendfile()

if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
