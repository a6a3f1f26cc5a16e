"""Exporters by name: imported early, so that no import happens in a forked child, and made late, by the exporter thread.

A name is one of ours or an entry point of OpenTelemetry's groups `opentelemetry_{traces,metrics,logs}_exporter`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

from otelfork.settings import SIGNALS, Settings, SettingsError

Factory = Callable[[], Any]
"""Makes one exporter of one signal; called once per generation, on the exporter thread."""

_OURS = {name: f"otelfork.exporters.{name}" for name in ("otlp", "console", "jaeger", "zipkin")}
PULLED = "prometheus"
"""No exporter: what asks for metrics by itself (see `otelfork.prometheus`)."""
_SPECIAL = {"traces": ("jaeger", "zipkin"), "metrics": (PULLED,), "logs": ("logging",)}
_OURS["logging"] = "otelfork.exporters.pylogging"
"""Our exporters; the extra that each needs has its name."""


def spoolable(factory: Factory) -> Callable[[], Callable[[Any], bytes]] | None:
    """Return what makes the encoder of batches for this factory's exporters; None where they take no `Parcel`."""
    return factory.packer if getattr(factory, "takes_parcels", False) else None  # type: ignore[attr-defined]


def factories(settings: Settings) -> dict[str, list[Factory]]:
    """Import what the settings name and return the factories by signal.

    Raises:
        SettingsError: a name is unknown, or its extra is not installed; the message names the extra.
    """
    return {signal: [_factory(signal, name, settings) for name in _pushed(settings, signal)] for signal in SIGNALS}


def check(settings: Settings) -> None:
    """Check the names of exporters without importing one.

    Raises:
        SettingsError: a name is unknown.
    """
    for signal in SIGNALS:
        for name in _pushed(settings, signal):
            if name not in _OURS:
                _entry_point(signal, name)


def _pushed(settings: Settings, signal: str) -> list[str]:
    return [name for name in settings.exporters[signal] if (signal, name) != ("metrics", PULLED)]


def _factory(signal: str, name: str, settings: Settings) -> Factory:
    if name in _OURS:
        try:
            make: Factory = import_module(_OURS[name]).factory(signal, settings)
        except ImportError as error:
            raise SettingsError(
                _variable(signal),
                name,
                f"the extra to be installed: pip install 'otelfork[{name}]' ({error})",
            ) from error
        return make
    loaded: Factory = _entry_point(signal, name).load()
    return loaded


def _entry_point(signal: str, name: str) -> metadata.EntryPoint:
    found = tuple(metadata.entry_points(group=f"opentelemetry_{signal}_exporter", name=name))
    if not found:
        known = ", ".join(("otlp", "console", *_SPECIAL[signal], "none"))
        raise SettingsError(_variable(signal), name, f"one of {known}, or an installed exporter's name")
    return found[0]


def _variable(signal: str) -> str:
    return f"OTEL_{signal.upper()}_EXPORTER"
