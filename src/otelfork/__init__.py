"""OpenTelemetry for Python web applications that stays true when the server forks, recycles, times out or is killed."""

from otelfork.bootstrap import Telemetry, configure, current_trace_id, flush, shutdown
from otelfork.build.providers import Providers
from otelfork.middleware import OtelMiddleware
from otelfork.settings import SettingsError
from otelfork.version import __version__

__all__ = [
    "OtelMiddleware",
    "Providers",
    "SettingsError",
    "Telemetry",
    "__version__",
    "configure",
    "current_trace_id",
    "flush",
    "shutdown",
]
