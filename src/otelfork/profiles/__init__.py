"""The extra `pyroscope`: every process is profiled by itself, and its local root spans name their profiles."""

from __future__ import annotations

import logging
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource

from otelfork.lane import Companion
from otelfork.settings.profiles import ADDRESS, ProfileSettings

_logger = logging.getLogger("otelfork")


def companions() -> list[Callable[[Resource], Companion]]:
    """Return the factory of the companion that PYROSCOPE_SERVER_ADDRESS asks for, or none. Imports the agent, starts nothing.

    Raises:
        SettingsError: a variable cannot be used.
    """
    settings = ProfileSettings.read()
    if not settings.address:
        return []
    try:
        from otelfork.profiles.profiles import Profiles
    except ImportError as error:
        # Not an error: the variable is not ours alone, and guides set it whether there is an agent or not.
        _logger.warning(
            "%s is set, and there is no agent: pip install 'otelfork[pyroscope]' (%s); nothing is profiled",
            ADDRESS,
            error,
        )
        return []
    return [lambda resource: Profiles(settings, resource)]
