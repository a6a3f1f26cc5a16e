"""The fixtures that several modules of tests start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from tests.unit.recording import Recording

from otelfork.delivery.spool import Spool
from otelfork.request import hooks
from otelfork.testing import Captured, capture


@pytest.fixture(scope="session", autouse=True)
def _runs_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a killed process of another test run left on this machine is nothing that these tests have recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTELFORK_RUN_DIR", str(tmp_path_factory.mktemp("runs")))
        yield


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


@pytest.fixture
def directory(tmp_path):
    """A directory for spools that does not exist yet."""
    return tmp_path / "spool"


@pytest.fixture
def opened(directory):
    """Make spools and close them after the test."""
    made, spools_lost = [], {}

    def make(service="shop", *, max_bytes=1 << 20, max_age=1000.0, where=directory):
        lost = Counter()

        def note(kind, reason, count):
            lost[reason] += count

        spool = Spool(where, service, max_bytes=max_bytes, max_age=max_age, lost=note)
        made.append(spool)
        spools_lost[id(spool)] = lost
        return spool

    make.lost = spools_lost
    yield make
    for spool in made:
        spool.close()
