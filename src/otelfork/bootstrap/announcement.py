"""The one line at the start that says what is on, where an operator sees it whether or not logging is set up.

It must not know how telemetry is built.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Collection

from otelfork.settings import SIGNALS, Environment, Settings
from otelfork.settings.resource import service

_logger = logging.getLogger("otelfork")
IN_CODE = "what the program gives"


def announce(
    settings: Settings,
    *,
    service_name: str | None = None,
    given: Collection[str] = (),
    providers: bool = False,
    told: Callable[[], bool] = lambda: False,
) -> None:
    """Say what is on: by logging where it is set up, else on standard error, once by the workers of a server.

    Args:
        settings: what the environment says.
        service_name: the name given in code.
        given: signals whose exporters are given in code.
        providers: whether the providers are given in code or by a file.
        told: tells whether another process of this server has said it.
    """
    if providers:
        line = f"telemetry: by {'OTEL_CONFIG_FILE=' + settings.config_file if settings.config_file else IN_CODE}"
    else:
        line = "telemetry: " + "; ".join(
            filter(None, (_signals(settings, given), _name(service_name), _next(settings, given)))
        )
    if _logger.isEnabledFor(logging.INFO) or _logger.hasHandlers():
        _logger.info("%s", line)
    elif _logger.getEffectiveLevel() <= logging.WARNING and not told():
        # Nobody has set logging up, and Python's last resort shows warnings only.
        with contextlib.suppress(AttributeError, OSError, ValueError):  # no standard error, or one that is closed
            sys.stderr.write(f"otelfork {line}\n")


def _signals(settings: Settings, given: Collection[str]) -> str:
    """Return each signal with where it goes, those that go the same way together."""
    ways: dict[str, list[str]] = {}
    for signal in SIGNALS:
        names = [_way(settings, signal, name) for name in settings.exporters[signal]]
        way = IN_CODE if signal in given else ", ".join(names) or "nowhere"
        ways.setdefault(way, []).append(signal)
    return "; ".join(f"{', '.join(signals)} to {way}" for way, signals in ways.items())


def _way(settings: Settings, signal: str, name: str) -> str:
    if name != "otlp":
        return name
    env = Environment()
    endpoint = env.text(
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", default="localhost"
    )
    return f"otlp at {endpoint.rpartition('@')[2]} ({settings.protocols[signal]})"


def _name(service_name: str | None) -> str:
    name = service_name or service(Environment()).get("service.name")
    return f"service {name}" if name else "OTEL_SERVICE_NAME is not set"


def _next(settings: Settings, given: Collection[str]) -> str:
    """Return what somebody who has set nothing wants to know."""
    by_default = all(settings.exporters[signal] == ("console",) for signal in SIGNALS) and not given
    chosen = Environment().is_set(*(f"OTEL_{signal.upper()}_EXPORTER" for signal in SIGNALS))
    return "OTEL_EXPORTER_OTLP_ENDPOINT names a collector" if by_default and not chosen else ""
