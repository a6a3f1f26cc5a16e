"""Zero code: what happens in an interpreter that `otelfork run` or `opentelemetry-instrument` has started.

Two ways lead here: our `sitecustomize` (the folder `site`, put on PYTHONPATH by `otelfork run`), and the entry points that
`opentelemetry-instrument` loads (`entrypoints`). Each may come with the other inside or around it; what is done is done once.
It must not know servers.
"""

from __future__ import annotations

import logging
from pathlib import Path

from otelfork import bootstrap
from otelfork.run import runs
from otelfork.servers import registry
from otelfork.settings import SettingsError
from otelfork.settings.http import HttpSettings
from otelfork.settings.run import announce_refusal, announce_run
from otelfork.settings.startup import disabled_instrumentations

SITE = Path(__file__).parent / "site"
"""The folder of our `sitecustomize`."""
NAME = "otelfork"
"""Our distro and configurator, for OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR."""

_logger = logging.getLogger("otelfork")


def start() -> bool:
    """Install the telemetry of the environment; tell whether there is any. Idempotent; never raises.

    A setting that cannot be used is said once by all processes of a server, and the program runs on untraced.
    """
    try:
        HttpSettings.load()
        there_is = bootstrap.put_off()
    except SettingsError as error:
        bootstrap.complain(error)
        announce_refusal(str(error))
        return False
    except Exception:
        _logger.exception("telemetry could not be started; the program runs on untraced")
        return False
    # Spawned workers come here before they know whose children they are.
    announce_run(runs.origin())
    return there_is


def attach() -> None:
    """Install the telemetry of the environment, and trace what servers load. Idempotent; never raises.

    Loaded as `opentelemetry_post_instrument`, it works whatever distro and configurator are chosen: providers that these have set
    are used as they are.
    """
    try:
        if start():
            registry.attach(disabled=disabled_instrumentations())
    except Exception:
        _logger.exception("servers cannot be attached to; what they load runs on untraced")


def initialize() -> None:
    """Activate the instrumentations of libraries by OpenTelemetry's own loader, where it is installed, and attach."""
    try:
        from opentelemetry.instrumentation import auto_instrumentation
    except ImportError:
        attach()
        return
    auto_instrumentation.initialize()  # logs what fails, and raises nothing
    attach()
