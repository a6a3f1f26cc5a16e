"""This process's place in its run: its slot on the scoreboard, or none where there can be no scoreboard."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otelfork.run import runs
from otelfork.settings.run import RunSettings, announce_run

if TYPE_CHECKING:
    from otelfork.run.scoreboard import Scoreboard

_logger = logging.getLogger("otelfork")


@dataclass(frozen=True, slots=True)
class Membership:
    """The run that this program's processes belong to, found once, in the process that installs telemetry.

    It is found early because a gunicorn worker can be told from its arbiter while it imports the application, and not in
    every thread or greenlet later.
    """

    settings: RunSettings
    service: str
    origin: str
    home: int
    """The process that found it: a preloading master, or the worker itself."""

    @classmethod
    def find(cls, service: str) -> Membership:
        """Find this process's run.

        Raises:
            SettingsError: a variable cannot be used.
        """
        return cls(RunSettings.read(), service, runs.origin(), os.getpid())

    @property
    def run(self) -> str:
        """The run's key."""
        return runs.key(self.origin, self.service)

    def join(self) -> Scoreboard | None:
        """Claim a slot; None where there is no scoreboard to be had, which is said once by this process."""
        if not self.settings.enabled:
            return None
        try:
            from otelfork.run.scoreboard import Scoreboard
            from otelfork.run.store import NoScoreboard
        except ImportError:  # no POSIX locks: nothing forks there either
            return None
        problems = []
        for directory in self.settings.directories:
            try:
                board = Scoreboard(
                    directory, self.run, self.service, slots=self.settings.slots, rows=self.settings.rows
                )
            except NoScoreboard as error:
                problems.append(str(error))
                continue
            announce_run(self.origin)
            return board
        _logger.warning(
            "no scoreboard (%s): processes have plain random ids, and requests of killed workers are not seen; "
            "set OTELFORK_RUN_DIR to a directory of your own with mode 0700, or OTELFORK_SCOREBOARD=false",
            "; ".join(problems),
        )
        return None

    def begun(self) -> bool:
        """Tell whether any process of the run has joined it."""
        return any((directory / f"{self.run}.board").exists() for directory in self.settings.directories)

    def at_home(self) -> bool:
        """Tell whether this is the process that found the run: a master, where it has any workers."""
        return os.getpid() == self.home

    def left_behind(self) -> bool:
        """Tell whether a run without any living worker left requests behind that nobody has reported (see `exits`)."""
        if not self.settings.enabled or not self.at_home():
            return False
        return any(_has_orphans(directory / f"{self.run}.board") for directory in self.settings.directories)


def _has_orphans(board: Path) -> bool:
    if not board.exists():
        return False
    from otelfork.run.deadruns import has_orphans

    return has_orphans(board)


def warm() -> None:
    """Import what `join` needs, so that no worker has to."""
    with contextlib.suppress(ImportError):
        for room in ("scoreboard", "deadruns"):
            importlib.import_module(f"otelfork.run.{room}")
