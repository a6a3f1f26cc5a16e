"""Real servers: what goes over the wire is the same with and without the middleware, and what is recorded is right."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.serving import free_port

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests/programs"
SECONDS = 30.0
UWSGI = str(Path(sys.executable).with_name("uwsgi"))
PYTHON = [sys.executable, "-m"]
GUNICORN = [*PYTHON, "gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class"]
WSGI_SERVERS = {
    "wsgiref": [sys.executable, str(PROGRAMS / "edges_wsgi.py"), "{port}"],
    "gunicorn-sync": [*GUNICORN, "sync", "edges_wsgi:app"],
    "gunicorn-gthread": [*GUNICORN, "gthread", "edges_wsgi:app"],
    "gunicorn-gevent": [*GUNICORN, "gevent", "edges_wsgi:app"],
    "uwsgi": [UWSGI, "--http-socket", "127.0.0.1:{port}", "--module", "edges_wsgi:app", "--http-chunked-input",
              "--need-app", "--die-on-term", "--http-auto-chunked"],
}  # fmt: skip
ASGI_SERVERS = {
    "uvicorn": [*PYTHON, "uvicorn", "--port", "{port}", "edges_asgi:app"],
    "hypercorn": [*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}", "edges_asgi:app"],
    "granian": [*PYTHON, "granian", "--interface", "asgi", "--port", "{port}", "edges_asgi:app"],
    "gunicorn-asgi": [*GUNICORN, "asgi", "edges_asgi:app"],
}


@dataclass
class Server:
    """A server under test."""

    name: str
    port: int
    log: Path

    def ask(self, method: str, path: str, body: Any = None, chunked: bool = False) -> tuple[Any, ...]:
        """Make one request on a connection of its own; return status, headers and body, or the kind of failure."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, encode_chunked=chunked)
            answer = connection.getresponse()
            names = sorted((k.lower(), v) for k, v in answer.getheaders() if k.lower() not in {"date", "server"})
            try:
                return answer.status, names, answer.read()
            except http.client.HTTPException as error:
                return answer.status, names, type(error).__name__
        except (http.client.HTTPException, OSError) as error:
            return (type(error).__name__,)
        finally:
            connection.close()

    def seen(self, spans: int) -> dict[str, Any]:
        """Return what was recorded, once there are so many spans: some servers close after the last byte."""
        deadline = time.monotonic() + SECONDS
        while True:
            told: dict[str, Any] = json.loads(self.ask("GET", "/seen")[2])
            if len(told["spans"]) >= spans and told["active"] == 0:
                return told
            assert time.monotonic() < deadline, told
            time.sleep(0.02)


@contextmanager
def running(name: str, command: list[str], folder: Path) -> Iterator[Server]:
    file = folder / "file.txt"
    file.write_bytes(b"0123456789" * 5000)
    log = folder / "log.txt"
    port = free_port()
    path = os.pathsep.join([str(PROGRAMS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "TESTS_ROOT": str(ROOT), "TESTS_FILE": str(file)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [part.format(port=port) for part in command], cwd=folder, env=environment, stdout=out, stderr=out
        )
    try:
        _wait(process, port, log)
        yield Server(name, port, log)
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module", params=WSGI_SERVERS)
def wsgi_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each WSGI server in turn, with one worker."""
    with running(request.param, WSGI_SERVERS[request.param], tmp_path_factory.mktemp("wsgi")) as server:
        yield server


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def asgi_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each ASGI server in turn, with one worker."""
    with running(request.param, ASGI_SERVERS[request.param], tmp_path_factory.mktemp("asgi")) as server:
        yield server


WSGI_CASES = [
    ("GET", "/list"), ("HEAD", "/list"), ("GET", "/empty"), ("GET", "/blocks"), ("GET", "/write"), ("GET", "/file"),
    ("GET", "/sized-file"), ("HEAD", "/sized-file"), ("GET", "/raise"), ("GET", "/fail"),
]  # fmt: skip
ASGI_CASES = [("GET", "/blocks"), ("HEAD", "/blocks"), ("GET", "/empty"), ("GET", "/raise"), ("GET", "/fail")]


@pytest.mark.parametrize(("method", "path"), WSGI_CASES)
def test_the_wire_is_the_same_on_wsgi(wsgi_server: Server, method: str, path: str) -> None:
    """Status, headers and body of each kind of response equal those of the bare application."""
    assert wsgi_server.ask(method, "/bare" + path) == wsgi_server.ask(method, "/traced" + path)


@pytest.mark.parametrize(("method", "path"), ASGI_CASES)
def test_the_wire_is_the_same_on_asgi(asgi_server: Server, method: str, path: str) -> None:
    """Status, headers and body of each kind of response equal those of the bare application."""
    assert asgi_server.ask(method, "/bare" + path) == asgi_server.ask(method, "/traced" + path)


@pytest.mark.parametrize("path", ["/list", "/file", "/sized-file", "/blocks", "/raise", "/fail"])
def test_each_request_is_one_span_on_wsgi(wsgi_server: Server, path: str) -> None:
    """Every way to answer ends its span, with the path as sent and the mount prefix."""
    before = len(wsgi_server.seen(0)["spans"])
    wsgi_server.ask("GET", "/traced" + path)
    spans = wsgi_server.seen(before + 1)["spans"][before:]
    error = {"/raise": "ValueError", "/fail": "ValueError"}.get(path)
    assert [error] == [span.get("error.type") for span in spans]


def test_closes_are_called_alike(wsgi_server: Server) -> None:
    """The application's close is called as often as without the middleware, also where it raises midway."""
    before = wsgi_server.seen(0)["closes"]
    for side in ("/bare", "/traced"):
        for path in ("/blocks", "/fail"):
            wsgi_server.ask("GET", side + path)
    after = wsgi_server.seen(0)["closes"]
    expected = {"/bare": 2, "/traced": 2}
    assert expected == {side: after[side] - before[side] for side in after}


def test_the_server_s_sendfile_is_kept(wsgi_server: Server) -> None:
    """gunicorn and uWSGI send a wrapped file with sendfile, with the middleware as without."""
    before = wsgi_server.seen(0)["sendfiles"]
    lengths = [len(wsgi_server.ask("GET", side + "/sized-file")[2]) for side in ("/bare", "/traced")]
    after = wsgi_server.seen(1)["sendfiles"]
    sent = {side: after[side] - before[side] for side in after}
    if wsgi_server.name == "uwsgi":
        lines = [line for line in wsgi_server.log.read_text().splitlines() if "sendfile()" in line]
        sent = {side: int(any(f"GET {side}/" in line for line in lines)) for side in after}
    times = 0 if wsgi_server.name == "wsgiref" else 1
    assert ([50_000] * 2, {"/bare": times, "/traced": times}) == (lengths, sent)


@pytest.mark.parametrize("chunked", [False, True])
def test_the_request_s_body_reaches_a_wsgi_application(wsgi_server: Server, chunked: bool) -> None:
    """The body is read as without the middleware, announced or chunked (wsgiref and plain uWSGI know no chunks)."""
    if chunked and wsgi_server.name in {"wsgiref", "uwsgi"}:
        return
    body: Any = iter([b"abc", b"defg"]) if chunked else b"abcdefg"
    expected = b"7"
    assert expected == wsgi_server.ask("POST", "/traced/echo", body, chunked)[2]


@pytest.mark.parametrize("chunked", [False, True])
def test_the_request_s_body_reaches_an_asgi_application(asgi_server: Server, chunked: bool) -> None:
    """The body is read as without the middleware, announced or chunked."""
    body: Any = iter([b"abc", b"defg"]) if chunked else b"abcdefg"
    expected = b"7"
    assert expected == asgi_server.ask("POST", "/traced/echo", body, chunked)[2]


@pytest.mark.parametrize("path", ["/blocks", "/raise", "/fail", "/empty"])
def test_each_request_is_one_span_on_asgi(asgi_server: Server, path: str) -> None:
    """Every way to answer ends its span."""
    before = len(asgi_server.seen(0)["spans"])
    asgi_server.ask("GET", "/traced" + path)
    spans = asgi_server.seen(before + 1)["spans"][before:]
    error = {"/raise": "ValueError", "/fail": "ValueError"}.get(path)
    assert [error] == [span.get("error.type") for span in spans]


def test_the_facts_of_a_real_request_on_wsgi(wsgi_server: Server) -> None:
    """The socket, Host, version and encoded path of a real server are recorded as they are."""
    before = len(wsgi_server.seen(0)["spans"])
    wsgi_server.ask("GET", "/traced/list%2Fx?token=1&a=2")
    span = wsgi_server.seen(before + 1)["spans"][before]
    path = "/list/x" if wsgi_server.name == "wsgiref" else "/traced/list%2Fx"
    names = ("url.path", "url.query", "server.address", "server.port", "client.address", "url.scheme")
    expected = (path, "token=REDACTED&a=2", "127.0.0.1", wsgi_server.port, "127.0.0.1", "http")
    assert expected == tuple(span.get(name) for name in names)


def test_a_client_that_leaves_midway_ends_the_span(wsgi_server: Server) -> None:
    """A connection that is cut after the request leaves no request active."""
    before = len(wsgi_server.seen(0)["spans"])
    with socket.create_connection(("127.0.0.1", wsgi_server.port)) as client:
        client.sendall(b"GET /traced/file HTTP/1.1\r\nHost: x\r\n\r\n")
    told = wsgi_server.seen(before + 1)
    expected = 0
    assert expected == told["active"]


def _shake_hands(port: int, path: str) -> tuple[socket.socket, bytes]:
    """Ask for a websocket (RFC 6455, section 4.1); return the connection and the head of the answer."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)
    return client, head


def _frame(kind: int, data: bytes) -> bytes:
    """Make a client's frame, masked with zeros (RFC 6455, section 5.2)."""
    return bytes([0x80 | kind, 0x80 | len(data), 0, 0, 0, 0]) + data


def test_a_real_websocket_is_one_span_with_its_counts(asgi_server: Server) -> None:
    """Two messages each way and a close of the client's are one span, whatever the server."""
    before = len(asgi_server.seen(0)["spans"])
    client, head = _shake_hands(asgi_server.port, "/traced/socket")
    with client:
        echoes = b""
        for _ in range(2):
            client.sendall(_frame(1, b"hi"))
            echoes += client.recv(4, socket.MSG_WAITALL)
        client.sendall(_frame(8, (1001).to_bytes(2, "big")))
        client.recv(100)
    span = asgi_server.seen(before + 1)["spans"][before]
    names = (
        "http.response.status_code",
        "websocket.messages.received",
        "websocket.messages.sent",
        "websocket.close.code",
    )
    code = 1006 if asgi_server.name == "hypercorn" else 1001  # hypercorn tells every end of the client's so
    expected = (b"HTTP/1.1 101", b"\x81\x02hi" * 2, (101, 2, 2, code))
    assert expected == (head[:12], echoes, tuple(span.get(name) for name in names))


def test_a_real_refused_websocket_is_a_403(asgi_server: Server) -> None:
    """A close before the accept is a 403 on the wire and in the span."""
    before = len(asgi_server.seen(0)["spans"])
    client, head = _shake_hands(asgi_server.port, "/traced/refused")
    client.close()
    span = asgi_server.seen(before + 1)["spans"][before]
    expected = (b"403", 403)
    assert expected == (head[9:12], span["http.response.status_code"])
