"""What is done with Python's own log records: the `OTEL_PYTHON_LOG*` variables of OpenTelemetry for Python."""

from __future__ import annotations

from dataclasses import dataclass

from otelfork.settings.environment import Environment, SettingsError

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "FATAL": 50}
_LEVEL = "OTEL_PYTHON_LOG_LEVEL"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How Python's logging takes part in telemetry."""

    correlation: bool = False
    """Whether log records get the trace id, span id and service name as attributes."""
    capture: bool = False
    """Whether log records are telemetry themselves."""
    level: int | None = None
    """The level of OpenTelemetry's and our own loggers; None leaves them alone."""
    service_name: str = ""

    @classmethod
    def read(cls, environment: Environment | None = None) -> LogSettings:
        """Read and check the environment.

        Raises:
            SettingsError: a switch is neither true nor false, or the level has no such name.
        """
        env = environment or Environment()
        capture = env.boolean("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED")
        level = env.text(_LEVEL).upper()
        if level and level not in _LEVELS:
            raise SettingsError(_LEVEL, level, "one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        return cls(
            correlation=capture or env.boolean("OTEL_PYTHON_LOG_CORRELATION"),
            capture=capture,
            level=_LEVELS.get(level),
            service_name=env.text("OTEL_SERVICE_NAME"),
        )
