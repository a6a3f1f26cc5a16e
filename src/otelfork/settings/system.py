"""Whether figures of the host and of the process are recorded, and how."""

from __future__ import annotations

from dataclasses import dataclass

from otelfork.settings.environment import Environment


@dataclass(frozen=True, slots=True)
class SystemSettings:
    """Nothing is recorded unless asked."""

    metrics: bool = False
    """Record the metrics of opentelemetry-instrumentation-system-metrics."""
    connections: bool = False
    """Count the host's connections too: a scan that takes 25 ms with each collection."""
    attributes: bool = False
    """Give local root spans the host's figures as attributes."""

    @classmethod
    def read(cls, environment: Environment | None = None, *, metrics: bool = False) -> SystemSettings:
        """Read the `OTELFORK_SYSTEM_*` variables; `metrics` is what holds where the environment says nothing of them.

        Raises:
            SettingsError: one is neither true nor false.
        """
        env = environment or Environment()
        return cls(
            metrics=env.boolean("OTELFORK_SYSTEM_METRICS", default=metrics),
            connections=env.boolean("OTELFORK_SYSTEM_CONNECTIONS"),
            attributes=env.boolean("OTELFORK_SYSTEM_ATTRIBUTES"),
        )
