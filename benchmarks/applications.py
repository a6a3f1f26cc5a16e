"""The bare applications, and requests for them made of fresh objects each time, as a server makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

BODY = (b'{"items": [{"id": 1, "name": "lamp", "price": 10.5}, ', b'{"id": 2, "name": "desk", "price": 99.0}]}')
LENGTH = sum(map(len, BODY))
HEADERS = (
    ("host", "shop.example:8000"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.9"),
    ("authorization", "Bearer 0123456789abcdef"),
    ("cache-control", "no-cache"),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
    ("referer", "https://shop.example/items"),
    ("x-forwarded-for", "203.0.113.9"),
    ("x-request-id", "7f1f6f0e-6a5b-4e1c-9a53-2c9b1a0b6a11"),
)
"""Eleven; `traceparent` or `dnt` is the twelfth."""
_TRACES = 0x0AF7651916CD43DD8448EB2100000000

PHASES = ("traceparent", "none", "unsampled", "excluded")
PATHS = {"excluded": "/health"}


def twelfth(phase: str, number: int) -> tuple[str, str]:
    """Return the header that differs between the phases."""
    if phase in {"traceparent", "unsampled"}:
        return "traceparent", f"00-{_TRACES + number:032x}-{number + 1:016x}-{'01' if phase == 'traceparent' else '00'}"
    return "dnt", "1"


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with a JSON body in two chunks."""
    start_response("200 OK", [("content-type", "application/json"), ("content-length", str(LENGTH))])
    return list(BODY)


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answer with a JSON body in two chunks."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    await receive()
    await send({
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(LENGTH).encode())],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": BODY[0], "more_body": True})
    await send({"type": "http.response.body", "body": BODY[1]})


async def _live(receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def environ(phase: str, number: int) -> dict[str, Any]:
    """Return a new WSGI environ, as gunicorn fills it."""
    made: dict[str, Any] = {
        "wsgi.errors": None,
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": None,
        "wsgi.input_terminated": True,
        "wsgi.input": None,
        "wsgi.url_scheme": "http",
        "SERVER_SOFTWARE": "gunicorn",
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "page=2",
        "RAW_URI": PATHS.get(phase, "/items") + "?page=2",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "40000",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "PATH_INFO": PATHS.get(phase, "/items"),
        "SCRIPT_NAME": "",
    }
    for name, value in (*HEADERS, twelfth(phase, number)):
        made["HTTP_" + name.upper().replace("-", "_")] = value
    return made


def scope(phase: str, number: int) -> dict[str, Any]:
    """Return a new ASGI scope, as uvicorn fills it."""
    path = PATHS.get(phase, "/items")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 40000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"page=2",
        "headers": [(name.encode(), value.encode()) for name, value in (*HEADERS, twelfth(phase, number))],
        "state": {},
    }


def varied_environ(phase: str, number: int) -> dict[str, Any]:
    """Return an environ that has path, host, client and agent in common with no other number's."""
    made = environ("traceparent", number)
    path, client = _own(number)
    made["PATH_INFO"], made["RAW_URI"], made["REMOTE_ADDR"] = path, path + "?page=2", client
    made["HTTP_HOST"], made["HTTP_USER_AGENT"] = f"shop{number}.example", f"agent/{number}"
    return made


def varied_scope(phase: str, number: int) -> dict[str, Any]:
    """Return a scope that has path, host, client and agent in common with no other number's."""
    made = scope("traceparent", number)
    path, client = _own(number)
    made["path"], made["raw_path"], made["client"] = path, path.encode(), (client, 40000)
    headers = made["headers"]
    headers[0], headers[1] = (b"host", b"shop%d.example" % number), (b"user-agent", b"agent/%d" % number)
    return made


def _own(number: int) -> tuple[str, str]:
    return f"/items/{number}", f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
