"""uWSGI's workers, over a module that answers as uWSGI's does."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from otelfork import workers
from otelfork.servers import uwsgi


@pytest.fixture
def master(monkeypatch) -> Any:
    """uWSGI's master, in which an application is loaded."""
    module = SimpleNamespace(worker_id=lambda: 0, opt={}, workers=lambda: (), masterpid=lambda: 1)
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    monkeypatch.delitem(sys.modules, "uwsgidecorators", raising=False)
    return module


@pytest.fixture
def calls(monkeypatch) -> list[Any]:
    """What the core is told."""
    told: list[Any] = []
    monkeypatch.setattr(workers, "begin", lambda server, **options: told.append((server, options)))
    monkeypatch.setattr(workers, "ready", lambda: told.append("ready"))
    return told


def forked(module: Any, number: int) -> None:
    """Make the master worker of that number."""
    module.worker_id = lambda: number
    module.post_fork_hook()


def test_a_worker_begins_after_its_fork(master: Any, calls: list[Any]) -> None:
    """With its own number, and what harakiri allows a request."""
    master.opt = {"harakiri": b"20"}
    uwsgi.attach()
    forked(master, 3)
    assert [("uwsgi", {"limit": 20, "own_id": 3}), "ready"] == calls


def test_a_projects_own_hook_comes_first(master: Any, calls: list[Any]) -> None:
    """A `@postfork` that sets providers has set them when the worker begins."""
    master.post_fork_hook = lambda: calls.append("theirs")
    uwsgi.attach()
    forked(master, 1)
    assert ["theirs", "uwsgi", "ready"] == [call if isinstance(call, str) else call[0] for call in calls]


def test_attach_twice_begins_once(master: Any, calls: list[Any]) -> None:
    """The hook is not put around itself."""
    uwsgi.attach()
    hook = master.post_fork_hook
    uwsgi.attach()
    assert hook is master.post_fork_hook


def test_decorators_that_are_imported_later_keep_our_hook(master: Any, calls: list[Any], monkeypatch, tmp_path) -> None:
    """uWSGI's decorators take the hook for themselves at their import: they are imported before ours is set."""
    (tmp_path / "uwsgidecorators.py").write_text(
        "import uwsgi\npostfork_chain = []\nuwsgi.post_fork_hook = lambda: [each() for each in postfork_chain]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    uwsgi.attach()
    import uwsgidecorators

    uwsgidecorators.postfork_chain.append(lambda: calls.append("theirs"))
    forked(master, 1)
    monkeypatch.delitem(sys.modules, "uwsgidecorators")
    assert ["theirs", "uwsgi", "ready"] == [call if isinstance(call, str) else call[0] for call in calls]


def test_a_mule_is_no_worker(master: Any, calls: list[Any]) -> None:
    """uWSGI calls its hook in mules and spoolers, too."""
    uwsgi.attach()
    forked(master, 0)
    assert [] == calls


def test_nothing_happens_outside_uwsgi(monkeypatch, calls: list[Any]) -> None:
    """Nor where a package of that name holds stubs."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace())
    uwsgi.attach()
    uwsgi.begin()
    assert ([], False) == (calls, uwsgi.working())


@pytest.mark.parametrize(
    ("options", "served", "age", "expected"),
    [
        ({b"max-requests": b"10"}, 10, 0, "recycled"),
        ({"max-requests": b"10"}, 3, 0, None),
        ({"max-worker-lifetime": b"60"}, 3, 61, "recycled"),
        ({"reload-on-rss": b"100"}, 3, 0, None),
        ({"processes": b"4"}, 3, 0, "stopped"),
    ],
)
def test_why_a_worker_leaves(
    master: Any, options: dict[Any, bytes], served: int, age: int, expected: str | None
) -> None:
    """By itself where an option has come true, told to where no option could have, else nobody knows."""
    master.worker_id, master.opt = lambda: 2, options
    master.workers = lambda: ({"id": 2, "delta_requests": served, "last_spawn": time.time() - age},)
    assert expected == uwsgi._reason(master)
