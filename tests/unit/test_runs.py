"""How a run is found."""

from __future__ import annotations

import multiprocessing
import os
import sys
import types

import pytest

from otelfork.run import runs
from otelfork.settings import Environment, SettingsError
from otelfork.settings.run import RunSettings


def found(service: str, environment: Environment) -> str:
    """Return the key of the run that a process of the service finds."""
    return runs.key(runs.origin(environment), service)


def test_given_run_wins() -> None:
    """OTELFORK_RUN names the run, whoever the parent is."""
    environment = Environment({"OTELFORK_RUN": "one"})
    assert found("shop", environment) == found("shop", Environment({"OTELFORK_RUN": "one"}))


def test_another_service_is_another_run() -> None:
    """Two services that share a parent do not share a scoreboard."""
    environment = Environment({"OTELFORK_RUN": "one"})
    assert found("shop", environment) != found("bank", environment)


def test_without_supervisor_a_process_is_its_own_run() -> None:
    """A plain process names its run after itself, so that two started by one shell are two."""
    assert runs.identify(os.getpid()) == runs.origin(Environment({}))


def test_process_is_named_by_its_start_too() -> None:
    """A pid that comes again is another process: the start time is part of the name."""
    _, _, pid, started, _ = runs.identify(os.getpid()).rsplit(":", 4)
    assert (str(os.getpid()), True) == (pid, int(started) > 0)


def test_uwsgi_master_names_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI's workers belong to its master."""
    module = types.ModuleType("uwsgi")
    module.masterpid = lambda: os.getppid()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    assert runs.identify(os.getppid()) == runs.origin(Environment({}))


def _origin(_: int) -> str:
    return runs.origin(Environment({}))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_of_multiprocessing_belong_to_their_parent(method: str) -> None:
    """Spawned workers find their parent, though each imports us by itself."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = set(pool.map(_origin, range(4)))
    assert {runs.identify(os.getpid())} == found


def test_the_directory_is_the_same_for_all_workers() -> None:
    """A relative path is another one in each working directory."""
    with pytest.raises(SettingsError, match=r"OTELFORK_RUN_DIR='run' is not valid: expected an absolute path"):
        RunSettings.read(Environment({"OTELFORK_RUN_DIR": "run"}))
