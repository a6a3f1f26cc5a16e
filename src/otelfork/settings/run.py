"""Where the processes of a run find each other: the scoreboard's directory, its size, and the run's name for children."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from otelfork.settings.environment import Environment, SettingsError

RUN_VARIABLE = "OTELFORK_RUN"
_REFUSED = "OTELFORK_REFUSED"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the scoreboard needs to know."""

    enabled: bool
    directories: tuple[Path, ...]
    """Where to try, in order."""
    slots: int
    rows: int

    @classmethod
    def read(cls, environment: Environment | None = None) -> RunSettings:
        """Read `OTELFORK_SCOREBOARD`, `OTELFORK_RUN_DIR`, `OTELFORK_SLOTS` and `OTELFORK_REQUEST_ROWS`.

        Raises:
            SettingsError: a value cannot be used.
        """
        env = environment or Environment()
        return cls(
            enabled=env.boolean("OTELFORK_SCOREBOARD", default=True),
            directories=_directories(env),
            slots=env.integer("OTELFORK_SLOTS", 1024, minimum=1, maximum=65_536),
            rows=env.integer("OTELFORK_REQUEST_ROWS", 63, minimum=1, maximum=65_536),
        )


def _directories(env: Environment) -> tuple[Path, ...]:
    """Return the user's directory alone, or those of the system: shared memory where there is some, else a temporary one."""
    given = env.text("OTELFORK_RUN_DIR")
    if given:
        if not Path(given).is_absolute():
            raise SettingsError("OTELFORK_RUN_DIR", given, "an absolute path: workers may stand in other folders")
        return (Path(given),)
    name = f"otelfork-{os.getuid()}" if hasattr(os, "getuid") else "otelfork"
    runtime = env.text("XDG_RUNTIME_DIR")
    shared = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, mode 0700, refused if it is somebody else's
    places = [Path(runtime) / "otelfork"] if runtime else []
    places += [shared / name] if shared.is_dir() else []
    return (*places, Path(tempfile.gettempdir()) / name)


def announce_run(origin: str) -> None:
    """Let the children of this process, forked or spawned, find its run."""
    os.environ.setdefault(RUN_VARIABLE, origin)


def announce_refusal(problem: str) -> None:
    """Let the children of this process, forked or spawned, know which problem of the settings has been said."""
    os.environ[_REFUSED] = problem


def refused(problem: str) -> bool:
    """Tell whether the process that started this one has said this problem."""
    return Environment().text(_REFUSED) == problem
