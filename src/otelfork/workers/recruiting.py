"""How a process finds out that it is a worker where nobody has attached otelfork to its server: the one line, and `configure`.

It happens only where a variable asks for it (`settings.workers`). Who knows the servers enrols here; this room does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from otelfork.settings.workers import WorkerSettings
from otelfork.workers import life

_logger = logging.getLogger("otelfork")


@dataclass(frozen=True, slots=True)
class Scout:
    """What somebody who knows servers can tell."""

    prepare: Callable[[], object]
    """Called once in a program that was configured, be it a master or a worker: hooks of the server are set now or never."""
    begin: Callable[[], object]
    """Called at a process's first use: has it begin if it is a worker of the server that the scout knows."""


_scouts: list[Scout] = []


def enrol(scout: Scout) -> None:
    """Have a scout asked, in place of the one before."""
    _scouts[:] = [scout]


def prepare() -> None:
    """Have the servers' own hooks set, where a variable asks for the life of workers. Builds nothing.

    Raises:
        SettingsError: a variable cannot be used.
    """
    if WorkerSettings.read().asked_for:
        _ask("prepare")


def volunteer() -> None:
    """Begin the life of this worker at its first use, where a variable asks for it. Never raises."""
    if life.current() is None and life.settings().asked_for:
        _ask("begin")


def _ask(question: str) -> None:
    try:
        for scout in _scouts:
            getattr(scout, question)()
    except Exception:
        _logger.exception("the life of this server's workers cannot be told as it should")
