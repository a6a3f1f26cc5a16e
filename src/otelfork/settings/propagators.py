"""The API's propagators, imported so that a wrong OTEL_PROPAGATORS does not end the application.

`opentelemetry.propagate` raises while it is imported where the variable names nothing that is installed. Who needs that module
takes it from here.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otelfork.settings.environment import SettingsError

__all__ = ["check", "propagate"]

VARIABLE = "OTEL_PROPAGATORS"
EXPECTED = "a list of tracecontext, baggage, none, or installed propagators (b3 is in opentelemetry-propagator-b3)"


def _imported() -> tuple[Any, str]:
    """Return the API's module, and the variable's value where the module could only be imported without it."""
    name = "opentelemetry.propagate"
    try:
        return import_module(name), ""
    except Exception:
        given = os.environ.pop(VARIABLE, None)
        if given is None:
            raise
        try:
            return import_module(name), given
        finally:
            os.environ[VARIABLE] = given


if TYPE_CHECKING:
    from opentelemetry import propagate  # what it is for the types; what it is in a program stands below

    _wrong = ""
else:
    propagate, _wrong = _imported()


def check() -> None:
    """Check OTEL_PROPAGATORS as this program found it when it started.

    Raises:
        SettingsError: a name in it is not installed, or that propagator cannot be imported.
    """
    if _wrong:
        raise SettingsError(VARIABLE, _wrong, EXPECTED)
