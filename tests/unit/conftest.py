"""The fixtures that tests of the request core start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.recording import Recording

from otelfork.request import hooks
from otelfork.testing import Captured, capture


@pytest.fixture
def recording() -> Recording:
    """Fresh providers for each test."""
    return Recording()


@pytest.fixture
def said_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was logged yet of what is logged once."""
    monkeypatch.setattr(hooks, "_said", set())


@pytest.fixture
def captured() -> Iterator[Captured]:
    """Telemetry in memory."""
    with capture() as telemetry:
        yield telemetry
