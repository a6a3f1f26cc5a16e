"""A client that keeps a few connections busy with GET requests, and reads every answer to its end.

It costs a fraction of what the servers cost: a server that waits for its client pays for being woken, and one that is slower
pays less of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

from benchmarks import applications


def load(port: int, phase: str, requests: int, connections: int = 8) -> None:
    """Send requests to 127.0.0.1; raises RuntimeError for an answer that is not 200, ConnectionError for a lost one."""
    asyncio.run(_load(port, phase, requests, connections))


async def _load(port: int, phase: str, requests: int, connections: int) -> None:
    loop, numbers = asyncio.get_running_loop(), iter(range(requests))
    made = [_Connection(phase, numbers, loop.create_future()) for _ in range(connections)]
    await asyncio.gather(*(loop.create_connection(lambda each=each: each, "127.0.0.1", port) for each in made))
    await asyncio.gather(*(each.done for each in made))


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last is whole."""

    def __init__(self, phase: str, numbers: Iterator[int], done: asyncio.Future[None]) -> None:
        path = applications.PATHS.get(phase, "/items") + "?page=2"
        self._fixed = f"GET {path} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in applications.HEADERS
        )
        self._phase = phase
        self._numbers = numbers
        self._seen = b""
        self.done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        number = next(self._numbers, None)
        if number is None:
            self.done.set_result(None)
            self._transport.close()
            return
        name, value = applications.twelfth(self._phase, number)
        self._transport.write(f"{self._fixed}{name}: {value}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, found, body = self._seen.partition(b"\r\n\r\n")
        if not found:
            return
        if b" 200 " not in head[:20] or len(body) > applications.LENGTH:
            self._fail(RuntimeError(f"the server answered {self._seen[:200]!r}"))
            return
        if len(body) < applications.LENGTH:
            return
        self._seen = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionError(f"the server closed a connection: {exc}"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
        self._transport.close()
