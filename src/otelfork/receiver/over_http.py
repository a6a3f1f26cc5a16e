"""OTLP over HTTP/1.1 with protobuf bodies (OTLP specification, section OTLP/HTTP): keep-alive, gzip.

It must not know records; `intake` takes the bodies.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import sys
import threading
import zlib
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from otelfork.receiver.faults import SIGNALS, Faults, Outcome
from otelfork.receiver.intake import Intake, MalformedRequestError
from otelfork.receiver.tls import Tls

PROTOCOL = "http/protobuf"

_LARGEST_BODY = 256 * 1024 * 1024
_TLS_HANDSHAKE = b"\x16"
_NOT_PLAIN = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
_MEDIA_TYPE = "application/x-protobuf"
_SIGNALS_BY_PATH = {f"/v1/{signal}": signal for signal in SIGNALS}
_logger = logging.getLogger(__name__)


class HttpServer(socketserver.ThreadingTCPServer):
    """The HTTP side of a receiver, on a free port of the loopback interface."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, intake: Intake, tls: Tls | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.intake = intake
        self._tls = None if tls is None else tls.context()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._acceptor = threading.Thread(
            target=self.serve_forever, args=(0.05,), name="otelfork-receiver-http", daemon=True
        )

    @property
    def endpoint(self) -> str:
        """The base URL."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Begin to accept connections."""
        self._acceptor.start()

    def close(self, timeout: float) -> None:
        """Close every connection and end every thread, waiting at most `timeout` seconds for each."""
        self.shutdown()
        self._acceptor.join(timeout)
        self.server_close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with suppress(OSError):  # its client closed it first
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join(timeout)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread of its own that `close` can end."""
        thread = threading.Thread(
            target=self._serve,
            args=(request, client_address),
            name="otelfork-receiver-connection",
            daemon=True,
        )
        with self._lock:
            self._connections[thread] = request
        thread.start()

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            if self._tls is not None:
                request = self._shake_hands(request, self._tls)
            if request is not None:
                self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]

    def _shake_hands(self, plain: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket | None:
        """Return the connection with TLS; None after a client that speaks none, or that does not trust us or we not it.

        Who speaks plain HTTP is answered as Go's servers do, and with them the collector.
        """
        try:
            if plain.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE:
                plain.recv(65_536)  # unread bytes would turn our answer into a reset
                plain.sendall(_NOT_PLAIN)
                self.shutdown_request(plain)
                return None
            connection = tls.wrap_socket(plain, server_side=True)
        except OSError as error:
            _logger.info("no TLS with a client: %s", error)
            self.shutdown_request(plain)
            return None
        with self._lock:
            self._connections[threading.current_thread()] = connection
        return connection

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection; one that broke off is everyday life."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | ssl.SSLError):
            _logger.error("connection of %s to %s failed", client_address, request, exc_info=error)


class _RejectedError(Exception):
    """The request is refused with an HTTP status, for a reason of the protocol."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def do_POST(self) -> None:
        """Take one export request."""
        intake = self.server.intake
        try:
            with intake.store.handling():
                outcome, faults = self._take(intake)
        except _RejectedError as rejection:
            self._answer(rejection.status, str(rejection).encode(), media_type="text/plain")
        except MalformedRequestError as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error).encode(), media_type="text/plain")
        else:
            self._answer_outcome(outcome, faults)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing: the store keeps the requests."""

    def _take(self, intake: Intake) -> tuple[Outcome, Faults]:
        signal = _SIGNALS_BY_PATH.get(self.path.partition("?")[0])
        wire = self._read_body()
        if signal is None:
            raise _RejectedError(HTTPStatus.NOT_FOUND, f"expected one of {', '.join(_SIGNALS_BY_PATH)}")
        if self.headers.get_content_type() != _MEDIA_TYPE:
            raise _RejectedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected content type {_MEDIA_TYPE}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = _decompressed(wire, headers.get("content-encoding", "identity"))
        return intake.take(signal, PROTOCOL, body, headers=headers, size=len(wire))

    def _read_body(self) -> bytes:
        length = self.headers.get("content-length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise _RejectedError(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > _LARGEST_BODY:
            self.close_connection = True
            raise _RejectedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {_LARGEST_BODY} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionResetError(f"the body broke off after {len(body)} of {length} bytes")
        return body

    def _answer_outcome(self, outcome: Outcome, faults: Faults) -> None:
        if outcome is Outcome.HUNG:
            self.server.intake.gate.hang()
            self.close_connection = True
        elif outcome is Outcome.REFUSED:
            self._answer(faults.status, b"", retry_after=faults.retry_after)
        else:
            self._answer(HTTPStatus.OK, b"")  # an empty Export*ServiceResponse

    def _answer(
        self, status: int, body: bytes, *, media_type: str = _MEDIA_TYPE, retry_after: float | None = None
    ) -> None:
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", f"{retry_after:g}")
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    if encoding not in {"gzip", "deflate"}:
        raise _RejectedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected content encoding gzip, deflate or identity")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: detects the gzip or zlib header
    try:
        content = inflater.decompress(body, _LARGEST_BODY)
    except zlib.error as error:
        raise _RejectedError(HTTPStatus.BAD_REQUEST, f"not {encoding}: {error}") from None
    if not inflater.eof:
        raise _RejectedError(HTTPStatus.BAD_REQUEST, f"{encoding} broken off, or more than {_LARGEST_BODY} bytes")
    return content
