"""What a master tells of its workers: it sees their deaths, and builds nothing for it (no thread, no socket, no generation)."""

from __future__ import annotations

import logging
import os
import signal

from otelfork.run import ends, runs
from otelfork.settings import SettingsError
from otelfork.settings.run import RunSettings

_logger = logging.getLogger("otelfork")
_supervisor = 0


def supervise() -> None:
    """Call in a master before it forks workers, if it will call `departed` for each that dies.

    Survivors learn by it to wait a moment for the master's word before they report a death as unknown.
    """
    global _supervisor
    _supervisor = os.getpid()


def supervisor() -> int:
    """Return the pid of the master that has called `supervise` and forked this process; 0 for none."""
    return _supervisor


def departed(pid: int, *, status: int | None, timed_out: bool = False) -> None:
    """Note on the scoreboard how a worker ended, for whoever reports what it left. Never raises, builds nothing.

    Args:
        pid: the worker that is dead.
        status: as `os.waitpid` returned it; None where it is not known.
        timed_out: whether the master killed it for not answering in time.
    """
    try:
        settings = RunSettings.read()
        if not settings.enabled:
            return
        # Not at the top: the room needs POSIX locks.
        from otelfork.run.notes import note_death

        note_death(settings.directories, pid, how_it_ended(status, timed_out=timed_out), runs.namespace())
    except (ImportError, OSError, SettingsError) as error:
        _logger.warning("how worker %d ended could not be noted: %s", pid, error)


def how_it_ended(status: int | None, *, timed_out: bool = False) -> str:
    """Return the `error.type` of what a dead worker left: `timeout`, the signal's name, `exit code N`, or `unknown`."""
    if timed_out:
        return ends.TIMEOUT
    if status is None:
        return ends.UNKNOWN
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
