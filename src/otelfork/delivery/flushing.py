"""Everything at once, within one deadline: what a flush asks of the exporter thread, and how the signals share the time.

A signal whose collector hangs costs the others nothing: each is exported on a thread of its own while that can be had, and else
(an interpreter that exits starts none) one after the other, each with its share of what is left. It must not know signals.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import final

from opentelemetry import context as context_api

_logger = logging.getLogger("otelfork")
# The key that OpenTelemetry's instrumentations of HTTP clients and gRPC look for: our own exports are not traced.
_SUPPRESS_INSTRUMENTATION = "suppress_instrumentation"

Part = Callable[[float], bool]
"""Exports something until the monotonic deadline; tells whether all of it was handed over."""


@final
class Flush:
    """One call of `flush`, on its way to the exporter thread and back."""

    __slots__ = ("again", "begun", "deadline", "done")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.begun = False
        """Whether the exporter thread has come to it: until then it may be in a try that hangs."""
        self.again = math.inf
        """When to go on with it (monotonic), after something failed that may pass."""
        # A SimpleQueue and not an Event: its put and get are safe in a signal handler that interrupts another put.
        self.done: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def wait(self, seconds: float) -> bool | None:
        """Wait for the end; None where it has not come yet."""
        try:
            return self.done.get(timeout=seconds)
        except queue.Empty:
            return None


def side_by_side(parts: Sequence[Part], deadline: float) -> list[bool]:
    """Do all parts until the deadline, the first of them on this thread; tell for each whether it succeeded.

    A part that does not keep the deadline is left behind on its thread, and has not succeeded.
    """
    results = [False] * len(parts)
    helpers: list[threading.Thread] = []
    alone = [0]
    for number in range(1, len(parts)):
        helper = _beside(parts[number], deadline, results, number)
        helpers.append(helper) if helper is not None else alone.append(number)
    for done, number in enumerate(alone):
        results[number] = parts[number](share(deadline, len(alone) - done))
    for helper in helpers:
        helper.join(left(deadline))
    return results


def share(deadline: float, parts: int) -> float:
    """Return the deadline of the first of so many parts that come one after the other."""
    now = time.monotonic()
    return deadline if parts == 1 else now + (deadline - now) / parts


def left(deadline: float) -> float:
    """Return the seconds left; a day at the most, for locks and queues refuse infinity."""
    return min(max(0.0, deadline - time.monotonic()), 86_400.0)


@contextmanager
def suppressed() -> Iterator[None]:
    """Let nothing on this thread be traced: it exports."""
    token = context_api.attach(context_api.set_value(_SUPPRESS_INSTRUMENTATION, True))
    try:
        yield
    finally:
        context_api.detach(token)


def _beside(part: Part, deadline: float, results: list[bool], number: int) -> threading.Thread | None:
    def work() -> None:
        try:
            with suppressed():
                results[number] = part(deadline)
        except BaseException:  # an exporter's SystemExit means nothing on this thread
            _logger.exception("exporting met an error; the other signals go on")

    thread = threading.Thread(target=work, name="otelfork-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter exits
        return None
    return thread
