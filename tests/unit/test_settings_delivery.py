"""The bounds of what waits: defaults, units, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from otelfork.settings import Environment, SettingsError
from otelfork.settings.delivery import DeliverySettings


def read(**variables):
    """Read the settings of an environment."""
    return DeliverySettings.read(Environment(variables))


def test_the_defaults():
    """32 MiB of queues; no spool."""
    assert DeliverySettings(32 << 20, None, 64 << 20, 86_400.0, 0.1) == read()


def test_each_variable_is_read_in_its_unit():
    """Bytes, seconds, milliseconds."""
    found = read(
        OTELFORK_QUEUE_BYTES="1000000",
        OTELFORK_SPOOL_DIR="/var/spool/otelfork",
        OTELFORK_SPOOL_MAX_BYTES="2000000",
        OTELFORK_SPOOL_MAX_AGE="60",
        OTELFORK_SPOOL_INTERVAL="50",
    )
    assert DeliverySettings(1_000_000, Path("/var/spool/otelfork"), 2_000_000, 60.0, 0.05) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTELFORK_QUEUE_BYTES", "10"),
        ("OTELFORK_SPOOL_DIR", "relative/path"),
        ("OTELFORK_SPOOL_MAX_BYTES", "lots"),
        ("OTELFORK_SPOOL_MAX_AGE", "0"),
        ("OTELFORK_SPOOL_INTERVAL", "-1"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(name, value):
    """At once, and not by each worker."""
    with pytest.raises(SettingsError, match=name):
        read(**{name: value})
