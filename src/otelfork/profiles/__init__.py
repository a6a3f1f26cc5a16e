"""The extra `pyroscope`: every process is profiled by itself, and its local root spans name their profiles."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.sdk.resources import Resource

from otelfork.lane import Companion
from otelfork.settings import SettingsError
from otelfork.settings.profiles import ADDRESS, ProfileSettings


def companions() -> list[Callable[[Resource], Companion]]:
    """Return the factory of the companion that PYROSCOPE_SERVER_ADDRESS asks for, or none. Imports the agent, starts nothing.

    Raises:
        SettingsError: a variable cannot be used, or the extra `pyroscope` is not installed.
    """
    settings = ProfileSettings.read()
    if not settings.address:
        return []
    try:
        from otelfork.profiles.profiles import Profiles
    except ImportError as error:
        expected = f"the extra to be installed: pip install 'otelfork[pyroscope]' ({error})"
        raise SettingsError(ADDRESS, settings.address, expected) from error
    return [lambda resource: Profiles(settings, resource)]
