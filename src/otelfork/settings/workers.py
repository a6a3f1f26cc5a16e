"""Whether the life of workers is recorded, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from otelfork.settings.environment import Environment


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What was asked for; nothing is, unless somebody says so."""

    wanted: bool | None = None
    """OTELFORK_WORKERS: a span for each worker, and metrics of the server as a whole. None where nothing was said: then those have
    them who attached otelfork to their server, and not those who wrapped an application."""
    gauges: bool = False
    """OTEL_GUNICORN_TRACE_WORKERS: processor and memory of each worker."""

    @classmethod
    def read(cls, environment: Environment | None = None) -> WorkerSettings:
        """Read the variables.

        Raises:
            SettingsError: one is neither true nor false.
        """
        env = environment or Environment()
        return cls(
            wanted=env.boolean("OTELFORK_WORKERS") if env.is_set("OTELFORK_WORKERS") else None,
            gauges=env.boolean("OTEL_GUNICORN_TRACE_WORKERS"),
        )

    @property
    def asked_for(self) -> bool:
        """Whether a variable asks for it, and not only somebody who attached otelfork to a server."""
        return self.gauges if self.wanted is None else self.wanted
