"""celery's pool processes begin and end by celery's signals."""

from __future__ import annotations

from typing import Any

import pytest

from otelfork import workers
from otelfork.servers import celery

signals = pytest.importorskip("celery.signals")


@pytest.fixture
def calls(monkeypatch) -> list[Any]:
    """What the core is told."""
    told: list[Any] = []
    for name in ("begin", "ready", "end"):
        monkeypatch.setattr(workers, name, lambda *arguments, name=name: told.append((name, *arguments)))
    celery.attach()
    celery.attach()
    yield told
    signals.worker_process_init.disconnect(dispatch_uid="otelfork.workers")
    signals.worker_process_shutdown.disconnect(dispatch_uid="otelfork.workers")


def test_a_pool_process_begins_once(calls: list[Any]) -> None:
    """However often otelfork is attached."""
    signals.worker_process_init.send(sender=None)
    assert [("begin", "celery"), ("ready",)] == calls


@pytest.mark.parametrize(("code", "reason"), [(155, "recycled"), (0, "stopped")])
def test_a_pool_process_ends_with_its_reason(calls: list[Any], code: int, reason: str) -> None:
    """Its exit code tells a process that has done its tasks from one that was told to go."""
    signals.worker_process_shutdown.send(sender=None, pid=1, exitcode=code)
    assert [("end", reason)] == calls
