"""The names under which workers and their server are told. Those of the server's own prefix are made from its name."""

from __future__ import annotations

from otelfork.run.ends import TIMEOUT

PID, ID, GENERATION = "worker.pid", "worker.id", "worker.generation"
STARTED, STOPPED = "worker.start", "worker.shutdown"
"""Events of a worker's span."""
REASON = "worker.exit.reason"
"""How a worker ended: an attribute of its span, of the event at its end, and of the server's count of ends."""
STATE = "worker.state"

RECYCLED, STOPPED_BY_SERVER, LEFT = "recycled", "stopped", "exited"
"""Clean ends: by itself, for a successor; because it was told to; one of the two, and nobody knows which."""
RESIGNED = "uninstrumented"
"""No end of the worker: it goes on, and nothing more is told of it."""
FAILURES = frozenset({TIMEOUT})
"""Ends that a worker notes itself and that are none of a healthy one."""


def own_id(server: str) -> str:
    """Return the attribute for the number that the server itself gives the worker, where that is not the slot."""
    return f"{server}.worker.id"
