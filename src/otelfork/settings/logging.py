"""What is done with Python's own log records: the `OTEL_PYTHON_LOG*` variables of OpenTelemetry for Python."""

from __future__ import annotations

from dataclasses import dataclass
from logging import Formatter

from otelfork.settings.environment import Environment, SettingsError

_LEVELS = {"NOTSET": 0, "DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "FATAL": 50}
_LEVEL, _EXPORTED = "OTEL_PYTHON_LOG_LEVEL", "OTEL_PYTHON_LOG_HANDLER_LEVEL"
_CORRELATION, _FORMAT = "OTEL_PYTHON_LOG_CORRELATION", "OTEL_PYTHON_LOG_FORMAT"
DEFAULT_FORMAT = (
    "%(asctime)s %(levelname)s [%(name)s] [%(filename)s:%(lineno)d] [trace_id=%(otelTraceID)s span_id=%(otelSpanID)s "
    "resource.service.name=%(otelServiceName)s trace_sampled=%(otelTraceSampled)s] - %(message)s"
)
"""The format of opentelemetry-instrumentation-logging."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How Python's logging takes part in telemetry."""

    correlation: bool = False
    """Whether log records get the trace id, span id and service name as attributes."""
    capture: bool = False
    """Whether log records are telemetry themselves."""
    level: int | None = None
    """The level of OpenTelemetry's and our own loggers; None leaves them alone."""
    format: str = ""
    """The format that `logging.basicConfig` is called with, at that level; "" where it is not called."""
    exported: int = 0
    """The lowest level of the records that are telemetry."""
    service_name: str = ""

    @classmethod
    def read(cls, environment: Environment | None = None) -> LogSettings:
        """Read and check the environment.

        Raises:
            SettingsError: a switch is neither true nor false, a level has no such name, or the format is none.
        """
        env = environment or Environment()
        capture = env.boolean("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED") or env.boolean(
            "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION"
        )
        correlation = env.boolean(_CORRELATION)
        return cls(
            correlation=capture or correlation,
            capture=capture,
            level=_level(env, _LEVEL),
            format=_format(env) if correlation else "",
            exported=_level(env, _EXPORTED) or 0,
            service_name=env.text("OTEL_SERVICE_NAME"),
        )


def _level(env: Environment, name: str) -> int | None:
    given = env.text(name).upper()
    if given and given not in _LEVELS:
        raise SettingsError(name, given, "one of " + ", ".join(_LEVELS))
    return _LEVELS.get(given)


def _format(env: Environment) -> str:
    given = env.text(_FORMAT, default=DEFAULT_FORMAT)
    try:
        Formatter(given)
    except ValueError as error:
        raise SettingsError(_FORMAT, given, f"a format of Python's logging, in the style of % ({error})") from None
    return given
