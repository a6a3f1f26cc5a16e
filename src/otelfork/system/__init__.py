"""The extra `system`: metrics and span attributes of the host and of each process, switched on by the settings."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from otelfork import forks
from otelfork.lane import Companion
from otelfork.settings import SettingsError
from otelfork.settings.system import SystemSettings

_started: set[str] = set()


def start_metrics(meter_provider: MeterProvider) -> None:
    """Create the instruments where OTELFORK_SYSTEM_METRICS asks for them. Once for a program; children inherit them.

    Raises:
        SettingsError: the extra `system` is not installed.
    """
    settings = SystemSettings.read()
    if settings.metrics:
        _start(meter_provider, settings)


def stand_in(meter_provider: MeterProvider) -> None:
    """Create the instruments in the place of the installed instrumentation, which zero code activates, unless told not to.

    Raises:
        SettingsError: the extra `system` is not installed, or a setting cannot be used.
    """
    settings = SystemSettings.read(metrics=True)
    if settings.metrics:
        _start(meter_provider, settings)


def _start(meter_provider: MeterProvider, settings: SystemSettings) -> None:
    if "metrics" in _started:
        return
    try:
        from otelfork.system.metrics import SystemMetrics
    except ImportError as error:
        raise _missing("OTELFORK_SYSTEM_METRICS", error) from error
    _started.add("metrics")
    SystemMetrics(connections=settings.connections, reports_host=reports_host).start(meter_provider)


def reports_host() -> bool:
    """Tell whether this process is the one of its run that reports what is the host's: the living one with the lowest slot."""
    board = getattr(forks.current(), "board", None)
    return board is None or bool(board.leads())


def companions() -> list[Callable[[Resource], Companion]]:
    """Return the factory of the companion that OTELFORK_SYSTEM_ATTRIBUTES asks for, or none.

    Raises:
        SettingsError: the extra `system` is not installed.
    """
    if not SystemSettings.read().attributes:
        return []
    try:
        from otelfork.system.figures import Figures
    except ImportError as error:
        raise _missing("OTELFORK_SYSTEM_ATTRIBUTES", error) from error
    return [lambda _: Figures()]


def _missing(variable: str, error: ImportError) -> SettingsError:
    return SettingsError(variable, "true", f"the extra to be installed: pip install 'otelfork[system]' ({error})")
