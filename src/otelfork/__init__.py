"""OpenTelemetry for Python web applications that stays true when the server forks, recycles, times out or is killed."""

from typing import TYPE_CHECKING, Any

from otelfork.bootstrap import Telemetry, configure, current_trace_id, flush, shutdown
from otelfork.build.providers import Providers
from otelfork.middleware import OtelMiddleware
from otelfork.servers import scouts as _scouts  # noqa: F401 - they enrol when they are imported
from otelfork.settings import SettingsError
from otelfork.version import __version__

if TYPE_CHECKING:
    from otelfork.servers.gunicorn_instrumentor import GunicornInstrumentor as GunicornInstrumentor

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


def __getattr__(name: str) -> Any:
    """Import what needs an extra only when it is asked for: `GunicornInstrumentor`.

    Raises:
        ImportError: opentelemetry-instrumentation is not installed.
    """
    if name != "GunicornInstrumentor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from otelfork.servers.gunicorn_instrumentor import GunicornInstrumentor

    return GunicornInstrumentor
