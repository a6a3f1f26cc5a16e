"""Drives a server with HTTP requests, each the child of a trace of its own.

It must not know servers' processes, receivers or accounts.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that was sent: under which trace and parent span, and what came of it.

    The ids are lower-case hex. `status` is the HTTP status of the answer, `error` says why there is none (or
    why it broke off); exactly one of the two is set. `seconds` is the time until the last byte.
    """

    trace_id: str
    parent_span_id: str
    url: str
    status: int | None
    error: str | None
    seconds: float
    ended: float = 0.0
    """When that was; seconds since the epoch."""

    @property
    def answered(self) -> bool:
        """Whether the whole answer arrived, whatever its status."""
        return self.error is None


def drive(
    urls: Sequence[str],
    *,
    requests: int,
    concurrency: int,
    timeout: float,
    keep_alive: bool = False,
    progress: Callable[[int], object] | None = None,
) -> tuple[Sent, ...]:
    """Send `requests` GET requests, `concurrency` at a time, the URLs in turn, and return what came of each.

    Each has a connection of its own, so that all workers of a server get some. With `keep_alive` connections are
    reused, and a server that closes one just as it is used again makes that request fail. A request is given up
    after `timeout` seconds without a byte and never repeated: a failure is an entry in the result. Once nothing
    has been answered for `timeout` seconds the rest is not sent, and is in the result as failed. `progress` is
    called with the number done, after each.
    """
    # No proxy from the environment: the server is the one on this machine.
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency if keep_alive else 0)
    headers = {} if keep_alive else {"connection": "close"}
    with (
        httpx.Client(timeout=timeout, limits=limits, headers=headers, trust_env=False) as client,
        ThreadPoolExecutor(concurrency, thread_name_prefix="otelfork-load") as threads,
    ):
        load = _Load(client, timeout, progress)
        return tuple(threads.map(load.send, itertools.islice(itertools.cycle(urls), requests)))


def send_one(url: str, timeout: float) -> Sent:
    """Send one GET request and return what came of it."""
    with httpx.Client(timeout=timeout, headers={"connection": "close"}, trust_env=False) as client:
        return _Load(client, timeout, None).send(url)


class _Load:
    """One run of the driver, used by all its threads."""

    def __init__(self, client: httpx.Client, timeout: float, progress: Callable[[int], object] | None) -> None:
        self._client = client
        self._timeout = timeout
        self._progress = progress
        self._lock = threading.Lock()
        self._done = 0
        self._last_answer = time.monotonic()

    def send(self, url: str) -> Sent:
        begin = time.monotonic()
        trace_id, parent_span_id = os.urandom(16).hex(), os.urandom(8).hex()
        status = error = None
        if begin - self._last_answer > self._timeout:
            error = f"not sent: nothing was answered for {self._timeout:g} s"
        else:
            status, error = self._get(url, f"00-{trace_id}-{parent_span_id}-01")
        end = time.monotonic()
        with self._lock:
            self._done += 1
            if error is None:
                self._last_answer = end
            if self._progress is not None:
                self._progress(self._done)
        return Sent(trace_id, parent_span_id, url, status, error, end - begin, time.time())

    def _get(self, url: str, traceparent: str) -> tuple[int | None, str | None]:
        try:
            return self._client.get(url, headers={"traceparent": traceparent}).status_code, None
        except httpx.RequestError as failure:
            return None, f"{type(failure).__name__}: {failure}".rstrip(": ")
