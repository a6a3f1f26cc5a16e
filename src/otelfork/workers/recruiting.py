"""How a process finds out that it is a worker where its server's own glue does not say so: the one line, `configure`, zero code.

It happens where a variable asks for it (`settings.workers`), and where otelfork was attached to whatever server there is. Who
knows the servers enrols here; this room does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from otelfork.settings.workers import WorkerSettings
from otelfork.workers import gauges, life

_logger = logging.getLogger("otelfork")


@dataclass(frozen=True, slots=True)
class Scout:
    """What somebody who knows servers can tell."""

    prepare: Callable[[], object]
    """Called once in a program that was configured, be it a master or a worker: hooks of the server are set now or never."""
    begin: Callable[[], object]
    """Called at a process's first use: has it begin if it is a worker of the server that the scout knows."""


_scouts: list[Scout] = []
_everyone = False


def check() -> None:
    """Read the variables, and import what they select, before there are workers.

    Raises:
        SettingsError: a variable cannot be used, or an extra is not installed.
    """
    if WorkerSettings.read().gauges:
        gauges.check()


def enrol(scout: Scout) -> None:
    """Have a scout asked, in place of the one before."""
    _scouts[:] = [scout]


def everyone(*, begins: bool) -> None:
    """Have every worker of this program begin that no variable forbids; for zero code."""
    global _everyone
    _everyone = begins


def prepare() -> None:
    """Have the servers' own hooks set, where workers are to begin. Builds nothing.

    Raises:
        SettingsError: a variable cannot be used.
    """
    if _wanted(WorkerSettings.read()):
        _ask("prepare")


def volunteer() -> None:
    """Begin the life of this worker at its first use, where it is to. Never raises."""
    if life.current() is None and _wanted(life.settings()):
        _ask("begin")


def _wanted(settings: WorkerSettings) -> bool:
    return settings.asked_for or (_everyone and settings.wanted is not False)


def _ask(question: str) -> None:
    try:
        for scout in _scouts:
            getattr(scout, question)()
    except Exception:
        _logger.exception("the life of this server's workers cannot be told as it should")
