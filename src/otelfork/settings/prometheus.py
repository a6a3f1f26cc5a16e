"""Where Prometheus scrapes, and how the gauges of many workers become one: `OTEL_EXPORTER_PROMETHEUS_*` and ours."""

from __future__ import annotations

from dataclasses import dataclass

from otelfork.settings.environment import Environment, SettingsError

GAUGES = "OTELFORK_PROMETHEUS_GAUGES"
MODES = ("sum", "max", "min", "worker")


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """The address of the endpoint (specification: metrics exporters, Prometheus), and the declared modes."""

    host: str = "localhost"
    port: int = 9464
    gauges: tuple[tuple[str, str], ...] = ()
    """Patterns of metric names, as OpenTelemetry spells them, with their mode; the first that fits counts."""

    @classmethod
    def read(cls, environment: Environment | None = None) -> PrometheusSettings:
        """Read and check the environment.

        Raises:
            SettingsError: a value cannot be used.
        """
        env = environment or Environment()
        return cls(
            host=env.text("OTEL_EXPORTER_PROMETHEUS_HOST", default="localhost"),
            port=env.integer("OTEL_EXPORTER_PROMETHEUS_PORT", 9464, minimum=1, maximum=65_535),
            gauges=tuple(_declared(entry) for entry in env.names(GAUGES)),
        )


def _declared(entry: str) -> tuple[str, str]:
    pattern, _, mode = (part.strip() for part in entry.rpartition("="))
    if not pattern or mode.lower() not in MODES:
        raise SettingsError(GAUGES, entry, f"pattern=mode with a mode of {', '.join(MODES)}")
    return pattern, mode.lower()
