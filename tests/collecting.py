"""An HTTP server on loopback that keeps what is posted to it, for exporters that do not speak OTLP."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Posted:
    """One request: its path, its headers with lower-case names, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Collector:
    """What was posted so far. `answers` are the statuses of the next requests; after them each gets the last one's."""

    port: int = 0
    scheme: str = "http"
    posted: list[Posted] = field(default_factory=list)
    answers: list[int] = field(default_factory=lambda: [202])
    headers: dict[str, str] = field(default_factory=dict)

    def take(self, posted: Posted) -> int:
        """Keep a request and return the status to answer it with."""
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.posted.append(posted)
        return status

    @property
    def accepted(self) -> Sequence[bytes]:
        """The bodies, where every request was answered well."""
        return [posted.body for posted in self.posted]

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"


@contextmanager
def collecting(*answers: int, tls: ssl.SSLContext | None = None, **headers: str) -> Iterator[Collector]:
    """Run a collector for the time of the block, with the statuses and headers of its answers."""
    collector = Collector(answers=list(answers) or [202], headers=headers, scheme="http" if tls is None else "https")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            names = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                status = collector.take(Posted(self.path, names, body))
            self.send_response(status)
            for name, value in {**collector.headers, "Content-Length": "0"}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
