"""How much may wait for a collector that does not take it: in memory, and on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from otelfork.settings.environment import Environment, SettingsError

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Bounds of what waits. Sizes are bytes, times seconds."""

    queue_bytes: int
    """All queues of a process together, as estimated."""
    spool: Path | None
    """The spool's directory; None: there is no spool."""
    spool_bytes: int
    """Of one process."""
    spool_age: float
    spool_interval: float
    """A record that is older than this survives the process."""

    @classmethod
    def read(cls, environment: Environment | None = None) -> DeliverySettings:
        """Read `OTELFORK_QUEUE_BYTES` and `OTELFORK_SPOOL_*`.

        Raises:
            SettingsError: a value cannot be used.
        """
        env = environment or Environment()
        return cls(
            queue_bytes=env.integer("OTELFORK_QUEUE_BYTES", 32 * _MIB, minimum=64 * 1024),
            spool=_directory(env),
            spool_bytes=env.integer("OTELFORK_SPOOL_MAX_BYTES", 64 * _MIB, minimum=64 * 1024),
            spool_age=env.number("OTELFORK_SPOOL_MAX_AGE", 86_400.0, minimum=1.0),
            spool_interval=env.number("OTELFORK_SPOOL_INTERVAL", 100.0, minimum=1.0) / 1000,
        )


def _directory(env: Environment) -> Path | None:
    given = env.text("OTELFORK_SPOOL_DIR")
    if not given:
        return None
    if not Path(given).is_absolute():
        # A relative one would be another directory after a daemon's chdir.
        raise SettingsError("OTELFORK_SPOOL_DIR", given, "an absolute path")
    return Path(given)
