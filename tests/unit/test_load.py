"""The load driver against a bare socket: what it sends and what it makes of bad answers."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from otelfork.cli.load import drive

ANSWER = b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

pytestmark = pytest.mark.timeout(30)

Serve = Callable[[bytes], tuple[str, list[bytes]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that gives each connection one fixed answer (none if it is empty) and notes the requests."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = []

        def start(answer: bytes) -> tuple[str, list[bytes]]:
            requests: list[bytes] = []
            threads.append(threading.Thread(target=_answer_all, args=(listener, answer, requests), daemon=True))
            threads[-1].start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}", requests

        yield start
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def _answer_all(listener: socket.socket, answer: bytes, requests: list[bytes]) -> None:
    silent = []
    try:
        while True:
            connection, _ = listener.accept()
            requests.append(connection.recv(65536))
            if answer:
                connection.sendall(answer)
                connection.close()
            else:
                silent.append(connection)
    except OSError:
        for connection in silent:
            connection.close()


def test_each_request_has_a_sampled_parent_of_its_own(serve: Serve) -> None:
    """Each request carries the trace id and the parent span id of its entry in the result, sampled."""
    url, requests = serve(ANSWER)
    sent = drive([url], requests=20, concurrency=4, timeout=5)
    carried = {re.search(rb"traceparent: (\S+)", request)[1].decode() for request in requests}  # type: ignore[index]
    assert carried == {f"00-{one.trace_id}-{one.parent_span_id}-01" for one in sent}


def test_an_error_status_is_an_answer(serve: Serve) -> None:
    """A request that is answered with 500 was answered."""
    url, _ = serve(ANSWER)
    [one] = drive([url], requests=1, concurrency=1, timeout=5)
    assert (one.answered, one.status, one.error) == (True, 500, None)


def test_a_body_that_breaks_off_is_a_failure(serve: Serve) -> None:
    """A request whose answer ends too early failed, with the reason."""
    url, _ = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    [one] = drive([url], requests=1, concurrency=1, timeout=5)
    assert (one.answered, one.status, "RemoteProtocolError" in str(one.error)) == (False, None, True)


def test_a_silent_server_is_given_up(serve: Serve) -> None:
    """Once nothing was answered for the timeout the rest is not sent: the driver ends in bounded time."""
    url, requests = serve(b"")
    sent = drive([url], requests=50, concurrency=2, timeout=0.2)
    assert (len(sent), any(one.answered for one in sent), len(requests) < 10) == (50, False, True)


def test_a_refused_connection_is_a_failure() -> None:
    """A request to a port where nothing listens failed."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        [one] = drive([f"http://127.0.0.1:{closed.getsockname()[1]}"], requests=1, concurrency=1, timeout=5)
    assert "ConnectError" in str(one.error)
