"""The fixture that every test of the request core starts from."""

from __future__ import annotations

import pytest
from tests.unit.recording import Recording


@pytest.fixture
def recording() -> Recording:
    """Fresh providers for each test."""
    return Recording()
