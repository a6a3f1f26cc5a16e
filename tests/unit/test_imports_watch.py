"""The finder that tells when a module has been imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from otelfork.servers.imports import Watch

NAME = "otelfork_watched"


class Seen:
    """What hooks were called with."""

    def __init__(self) -> None:
        self.modules: list[ModuleType] = []
        self.watch = Watch(lambda name: self.modules.append if name == NAME else None)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Wait for a module that can be imported and was not."""
    (tmp_path / f"{NAME}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = Seen()
    found.watch.start()
    yield found
    found.watch.stop()
    sys.modules.pop(NAME, None)


def test_a_hook_gets_the_executed_module(seen: Seen) -> None:
    """The module is complete when the hook is called."""
    module = importlib.import_module(NAME)
    assert [(module, 1)] == [(each, each.value) for each in seen.modules]


def test_a_watched_module_is_like_any_other(seen: Seen) -> None:
    """Its loader and its spec are those that it would have had."""
    module = importlib.import_module(NAME)
    loader = importlib.machinery.SourceFileLoader
    assert (loader, loader) == (type(module.__loader__), type(module.__spec__.loader))


def test_a_module_that_is_not_there_is_not_found(seen: Seen) -> None:
    """Waiting for a module does not make it."""
    seen.watch._wanted = lambda name: seen.modules.append
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("otelfork_not_there")


def test_a_reload_calls_the_hook_again(seen: Seen) -> None:
    """A module that is executed anew is told of anew."""
    importlib.reload(importlib.import_module(NAME))
    assert 2 == len(seen.modules)


def test_an_error_of_the_module_is_the_importers(seen: Seen, tmp_path: Path) -> None:
    """A module that cannot be executed calls no hook and raises what it raises."""
    (tmp_path / f"{NAME}.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(NAME)
    assert [] == seen.modules


def test_another_finder_that_asks_all_finders_gets_an_answer(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two finders of this kind do not ask each other for ever."""

    class Asking:
        busy = False

        def find_spec(self, name: str, path: object = None, target: object = None) -> object:
            if self.busy:
                return None
            self.busy = True
            try:
                return importlib.util.find_spec(name)
            finally:
                self.busy = False

    monkeypatch.setattr(sys, "meta_path", [Asking(), *sys.meta_path])
    importlib.import_module(NAME)
    assert 1 == len(seen.modules)


def test_stop_leaves_the_finders_as_they_were() -> None:
    """Nothing is left in `sys.meta_path`, however often it was started."""
    before = list(sys.meta_path)
    watch = Watch(lambda name: None)
    watch.start()
    watch.start()
    watch.stop()
    assert before == sys.meta_path
