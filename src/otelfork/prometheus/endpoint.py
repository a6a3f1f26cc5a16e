"""The HTTP endpoint that Prometheus scrapes: whoever of a server's workers gets the port serves for all of them.

Each worker tries once a second, so that a successor takes over when the one that has it goes. The socket is closed by number in
a forked child; one that it held open would keep the port and never answer. It must not know what is on the page.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeAlias, cast

from otelfork import forks

Answer: TypeAlias = "Callable[[str, str], tuple[dict[str, str], bytes]]"
"""Makes headers and body of an answer from the headers Accept and Accept-Encoding."""

PATHS = frozenset({"/metrics", "/"})
_CLIENT_SECONDS = 5.0
_MOST_CLIENTS = 8
_BACKLOG = 32
_logger = logging.getLogger("otelfork")


class Endpoint:
    """A listening socket and the thread that answers on it.

    Args:
        host: a name or address; of a name's addresses the first of IPv4, if it has one.
        port: a TCP port.
        answer: makes the page.

    Raises:
        OSError: the port is taken, or the host is none of ours.
    """

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        self._answer = answer
        self._clients = threading.BoundedSemaphore(_MOST_CLIENTS)
        family, address = _resolved(host, port)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError:
            self._socket.close()
            raise
        forks.own(self._socket.fileno())
        self.port = int(self._socket.getsockname()[1])
        self._open = True

    def start(self) -> None:
        """Answer from now on.

        Raises:
            RuntimeError: no thread can be started.
        """
        threading.Thread(target=self._run, name="otelfork-prometheus", daemon=True).start()

    def close(self) -> None:
        """Give the port up."""
        if self._open:
            self._open = False
            forks.disown(self._socket.fileno())
            # Wakes the thread up, which a mere close does not.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _run(self) -> None:
        while self._open:
            try:
                client, address = self._socket.accept()
            except OSError:
                if self._open:
                    threading.Event().wait(0.1)  # no descriptor is free
                continue
            if not self._clients.acquire(blocking=False):
                client.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(client, address), daemon=True).start()
            except RuntimeError:
                self._clients.release()
                client.close()

    def _serve(self, client: socket.socket, address: Any) -> None:
        try:
            client.settimeout(_CLIENT_SECONDS)
            _Handler(client, address, cast(Any, self._answer))
        except OSError:
            pass  # the client went away
        except Exception:
            _logger.exception("a scrape could not be answered")
        finally:
            client.close()
            self._clients.release()


@cache
def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Return family and address to listen on.

    Asked once and not for a name that needs no asking: a child that was forked while the system's resolver is at work, in a thread
    that tries each second, might find it locked for ever.
    """
    host = "127.0.0.1" if host == "localhost" else host
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, address


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection: a scrape is rare, and a kept connection would hold a thread."""

    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        """Answer with the page."""
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with the headers of the page."""
        self._respond(with_body=False)

    def _respond(self, *, with_body: bool) -> None:
        if self.path.partition("?")[0] not in PATHS:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        make: Any = self.server  # whatever is given in the server's place
        headers, body = make(self.headers.get("Accept", ""), self.headers.get("Accept-Encoding", ""))
        self.send_response(HTTPStatus.OK)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Scrapes are not logged."""
