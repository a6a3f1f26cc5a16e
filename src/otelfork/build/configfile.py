"""OTEL_CONFIG_FILE: the declarative configuration of OpenTelemetry, read once and built anew in each process.

The file is read and checked by opentelemetry-configuration. Its providers are the SDK's own, with their threads and connections:
each process builds its set at its first use and drops an inherited one unread, as everything here. The file decides alone; the
other OTEL_* variables count only where it names them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from otelfork.resource import identity
from otelfork.settings import SettingsError

VARIABLE = "OTEL_CONFIG_FILE"
_LEVELS = {"trace": logging.DEBUG, "debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING}
_LEVELS |= {"error": logging.ERROR, "fatal": logging.CRITICAL}


Build = Callable[[], tuple[Any, Any, Any]]
"""Makes a process's providers of traces, metrics and logs; None for a signal that the file leaves out."""


def load(path: str) -> Build:
    """Read and check the file, set its propagators and level, and switch on the instrumentations that it names.

    Raises:
        SettingsError: the extra `config` is missing, or the file cannot be used; the message says why.
    """
    try:
        from opentelemetry.configuration import load_config_file
        from opentelemetry.configuration.file import configure_propagator
        from opentelemetry.configuration.instrumentation import configure_instrumentation
    except ImportError as error:
        expected = f"the extra to be installed: pip install 'otelfork[config]' ({error})"
        raise SettingsError(VARIABLE, path, expected) from error
    try:
        config = load_config_file(path)
        if config.disabled:
            return lambda: (None, None, None)
        configure_propagator(config.propagator)
    except Exception as error:
        raise SettingsError(VARIABLE, path, f"a file that can be used ({error})") from error
    if config.log_level is not None:
        logging.getLogger("opentelemetry").setLevel(_LEVELS[config.log_level.value.rstrip("1234")])
    configure_instrumentation(config.instrumentation_development)
    return lambda: _build(config)


def _build(config: Any) -> tuple[Any, Any, Any]:
    from opentelemetry.configuration import file

    resource = identity.process_resource(file.create_resource(config.resource), None, ())()
    limits = config.attribute_limits
    traces, metrics, logs = config.tracer_provider, config.meter_provider, config.logger_provider
    return (
        None if traces is None else file.create_tracer_provider(traces, resource, limits),
        None if metrics is None else file.create_meter_provider(metrics, resource),
        None if logs is None else file.create_logger_provider(logs, resource, limits),
    )
