"""What a master tells of its workers: it sees their deaths, and builds nothing for it (no thread, no socket, no generation)."""

from __future__ import annotations

import logging
import os
import signal

_logger = logging.getLogger("otelfork")


def supervise() -> None:
    """Call in a master before it forks workers, if it will call `departed` for each that dies.

    Workers tell survivors by it to wait a moment for the master's word before they report a death as unknown.
    """


def departed(pid: int, *, status: int | None, timed_out: bool = False) -> None:
    """Note how a worker ended, for whoever reports what it left. Never raises.

    Args:
        pid: the worker that is dead.
        status: as `os.waitpid` returned it; None where it is not known.
        timed_out: whether the master killed it for not answering in time.
    """
    _logger.debug("worker %d is gone: %s", pid, how_it_ended(status, timed_out=timed_out) or "unknown")


def how_it_ended(status: int | None, *, timed_out: bool = False) -> str:
    """Return the `error.type` of what a dead worker left: `timeout`, the signal's name, `exit code N`, or "" for unknown."""
    if timed_out:
        return "timeout"
    if status is None:
        return ""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
