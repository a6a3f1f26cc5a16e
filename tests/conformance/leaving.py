"""Makes requests while a server or one of its workers leaves, and accounts for each that the application began.

The application itself tells which requests it began (`tests/programs/leaving_wsgi.py`): a client alone cannot tell a request
that was killed from one that nobody had read yet.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.conformance.driving import CONCURRENCY, Sent
from tests.conformance.statement import DURATION, total

from otelfork.receiver.records import ReceivedPoint, ReceivedSpan

RECOVERED = "otelfork.recovered"
RECOVERED_COUNT = "otelfork.server.requests.recovered"
_CLIENT_SECONDS = 20.0
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its ids in hex, the pid that answered or None, when it ended (wall clock, seconds), what went wrong."""

    trace_id: str
    span_id: str
    pid: int | None
    ended: float
    error: str = ""

    @property
    def refused(self) -> bool:
        """Whether nobody took the connection: a server that has stopped listening."""
        return "refused" in self.error


def ask(port: int, path: str) -> Asked:
    """Make one request with a sampled traceparent of its own."""
    trace_id, span_id = os.urandom(16).hex(), os.urandom(8).hex()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_CLIENT_SECONDS)
    try:
        headers = {"traceparent": f"00-{trace_id}-{span_id}-01", "connection": "close"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            return Asked(trace_id, span_id, None, time.time(), f"status {response.status}: {body[:200]!r}")
        return Asked(trace_id, span_id, int(response.headers["x-pid"]), time.time())
    except (OSError, http.client.HTTPException) as error:
        return Asked(trace_id, span_id, None, time.time(), f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def ask_through(port: int, requests: int, path: str, act: Callable[[], object]) -> list[Asked]:
    """Make requests, eight at a time, and `act` when half of them are answered; return them all."""
    half, done, lock = threading.Event(), Counter[str](), threading.Lock()

    def one(_: int) -> Asked:
        asked = ask(port, path)
        with lock:
            done["all"] += 1
            if done["all"] * 2 >= requests:
                half.set()
        return asked

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        results = [pool.submit(one, number) for number in range(requests)]
        half.wait(60)
        act()
        return [result.result() for result in results]


class Held:
    """A request that is running in a worker, whose pid is known."""

    def __init__(self, port: int, path: str, begun: Path) -> None:
        self._result: Future[Asked] = Future()
        threading.Thread(target=lambda: self._result.set_result(ask(port, path)), daemon=True).start()
        self.pid = _holder(begun, path)

    def result(self) -> Asked:
        """Wait for the end of the request."""
        return self._result.result(_CLIENT_SECONDS + 5)


def _holder(begun: Path, path: str) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for line in begun.read_text().splitlines() if begun.exists() else ():
            if line.endswith(path):
                return int(line.split()[1])
        time.sleep(0.02)
    raise AssertionError(f"nobody began the request to {path}")


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the requests that the application began.

    `received` have a span, `recovered` are those of them whose span a survivor sent, `lost` have none, `excused` are the lost
    ones that the killed worker had answered within one export interval. `doubled` counts distinct spans beyond one for a
    request, `repeated` deliveries of a span beyond the first. `failed` are requests without an answer, refused ones left out.
    `histogram` is the total of the duration histogram, `counted` that of the recovered requests.
    """

    sent: int
    received: int
    lost: int
    excused: int
    doubled: int
    repeated: int
    recovered: int
    failed: int
    histogram: int
    counted: int

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


def tally(
    asked: Sequence[Asked],
    begun: Iterable[_Key],
    spans: Iterable[ReceivedSpan],
    points: Sequence[ReceivedPoint],
    *,
    excuse: Callable[[Asked], bool] = lambda _: False,
) -> Tally:
    """Match what the application began with what was received, by trace id and parent span id."""
    servers: dict[_Key, Counter[str]] = {}
    recovered = set()
    for span in spans:
        if span.kind == "SERVER":
            key = span.trace_id, span.parent_span_id
            servers.setdefault(key, Counter())[span.span_id] += 1
            if span.attributes.get(RECOVERED):
                recovered.add(key)
    known = {(one.trace_id, one.span_id): one for one in asked}
    sent = (set(begun) | set(servers)) & set(known)
    lost = sent - set(servers)
    return Tally(
        sent=len(sent),
        received=len(sent & set(servers)),
        lost=len(lost),
        excused=sum(excuse(known[key]) for key in lost),
        doubled=sum(map(len, servers.values())) - len(sent & set(servers)),
        repeated=sum(found.total() - len(found) for found in servers.values()),
        recovered=len(recovered),
        failed=sum(bool(one.error) and not one.refused for one in asked),
        histogram=total(points, DURATION),
        counted=total(points, RECOVERED_COUNT),
    )


def begun_in(log: Path) -> dict[_Key, tuple[int, str]]:
    """Read the requests that the application began: by trace and parent span id, the pid and the path."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    keys = [(parent.split("-"), int(pid), path) for parent, pid, path in lines]
    return {(key[1], key[2]): (pid, path) for key, pid, path in keys if len(key) == 4}


def of_program(sent: Iterable[Sent]) -> list[Asked]:
    """Take over the requests that a program made itself."""
    return [Asked(one.trace_id, one.span_id, one.pid, one.ended) for one in sent]


def problems(actual: Tally, expected: Mapping[str, int]) -> str:
    """Say in a few words which figures are not as expected; empty where all are."""
    found = actual.as_dict()
    return ", ".join(
        f"{name} {found[name]} instead of {value}" for name, value in expected.items() if found[name] != value
    )
