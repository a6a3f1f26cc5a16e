"""A client that keeps a few connections busy with GET requests, and reads every answer to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from benchmarks import applications


def load(port: int, phase: str, requests: int, connections: int = 8) -> None:
    """Send requests to 127.0.0.1; raises RuntimeError for an answer that is not 200."""
    asyncio.run(_load(port, phase, requests, connections))


async def _load(port: int, phase: str, requests: int, connections: int) -> None:
    numbers = iter(range(requests))
    await asyncio.gather(*(_connection(port, phase, numbers) for _ in range(connections)))


async def _connection(port: int, phase: str, numbers: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = applications.PATHS.get(phase, "/items") + "?page=2"
    fixed = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in applications.HEADERS)
    try:
        for number in numbers:
            name, value = applications.twelfth(phase, number)
            writer.write(f"{fixed}{name}: {value}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:20]:
                raise RuntimeError(f"the server answered {head[:60]!r}")
            await reader.readexactly(applications.LENGTH)
    finally:
        writer.close()
