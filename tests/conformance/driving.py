"""Makes requests, each with a sampled traceparent of its own, and remembers who answered which.

It is an oracle of its own, independent of `otelfork verify`: it shares no code with what it checks.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.conformance.serving import Server

CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that was answered: its ids in hex, the pid that answered, when (seconds, monotonic)."""

    trace_id: str
    span_id: str
    pid: int
    begun: float
    ended: float


def drive(server: Server, requests: int, path: str = "/items/7") -> list[Sent]:
    """Make requests over HTTP, a connection each, so that the workers share them; each must succeed."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(lambda _: _request(server.port, path), range(requests)))


def told(lines: Iterable[str]) -> list[Sent]:
    """Read what a program printed: `sent <traceparent> <pid>` for each request that it made."""
    sent = []
    for number, line in enumerate(lines):
        if line.startswith("sent "):
            _, traceparent, pid = line.split()
            _, trace_id, span_id, _ = traceparent.split("-")
            sent.append(Sent(trace_id, span_id, int(pid), number, number))
    return sent


def _request(port: int, path: str) -> Sent:
    trace_id, span_id = os.urandom(16).hex(), os.urandom(8).hex()
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"traceparent": f"00-{trace_id}-{span_id}-01", "connection": "close"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise AssertionError(f"{path} was answered with {response.status}: {body[:500]!r}")
    return Sent(trace_id, span_id, int(response.headers["x-pid"]), begun, time.monotonic())
