"""Tells when a module has been imported, so that a server is looked at only in programs that use it.

A finder of our own before all others: it finds nothing itself, but has the loader that the others found followed by a hook. It
must not know which modules are waited for. (wrapt's import hooks wait for names that are known beforehand, and cannot be taken
back; uWSGI's application is known by name only once uWSGI is there.)
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeAlias

Hook: TypeAlias = "Callable[[ModuleType], object]"
"""Called with a module that has just been executed. What it raises goes to the importer."""


class Watch(MetaPathFinder):
    """Calls hooks after imports, from `start` to `stop`.

    Args:
        wanted: asked with each name that is imported; returns the hook, or None.
    """

    def __init__(self, wanted: Callable[[str], Hook | None]) -> None:
        self._wanted = wanted
        self._asking = threading.local()

    def start(self) -> None:
        """Go before all other finders. Idempotent."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Leave the finders as they were."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, its loader followed by the hook; None where nobody waits for the module."""
        asking: set[str] = self._asking.__dict__.setdefault("names", set())
        # Another tool's finder of this kind asks all finders in turn: it shall not get our answer to its question to us.
        if fullname in asking or (hook := self._wanted(fullname)) is None:
            return None
        asking.add(fullname)
        try:
            spec = self._found(fullname, path, target)
        finally:
            asking.discard(fullname)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Followed(spec.loader, hook)
        return spec

    def _found(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                return spec
        return None


class _Followed(Loader):
    """A loader that calls a hook after the execution. The module keeps no trace of it."""

    def __init__(self, loader: Any, hook: Hook) -> None:
        self._loader = loader
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as the loader does."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module under its own loader, then call the hook."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._hook(module)
