"""What OpenTelemetry's loader asks a distro for. Imported by that loader alone: it needs opentelemetry-instrumentation."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint
from typing import Any

from opentelemetry import metrics
from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined] # untyped there

from otelfork import distro, system
from otelfork.servers import registry

_logger = logging.getLogger("otelfork")


class Distro(BaseDistro):  # type: ignore[misc] # see above
    """Loads instrumentations so that one that fails takes no other with it, and ours stand in for those that forks break.

    Entry point `opentelemetry_distro: otelfork`.
    """

    def _configure(self, **kwargs: Any) -> None:
        """Nothing is set: the defaults are those of the settings."""

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        """Activate one instrumentation; a server's own waits until the program imports that server."""
        if entry_point.name == "system_metrics":
            # Theirs reports the parent's figures in children; ours is theirs, made right under forks.
            _guarded(entry_point.name, system.stand_in, metrics.get_meter_provider())
        elif entry_point.name in registry.SERVERS.values():
            registry.when_attached(
                entry_point.name, lambda: _guarded(entry_point.name, self._load, entry_point, **kwargs)
            )
        else:
            _guarded(entry_point.name, self._load, entry_point, **kwargs)

    def _load(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        super().load_instrumentor(entry_point, **kwargs)


class Configurator:
    """Entry point `opentelemetry_configurator: otelfork`."""

    def configure(self, **_: Any) -> None:
        """Install the telemetry of the environment; what is wrong with it is said, and the program runs on untraced."""
        distro.start()


def _guarded(name: str, step: Any, *arguments: Any, **named: Any) -> None:
    try:
        step(*arguments, **named)
    except (ImportError, DependencyConflictError):
        raise  # the loader knows what these mean
    except Exception:
        _logger.exception("the instrumentation %s could not be activated; all others are", name)
