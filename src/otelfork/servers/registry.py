"""The servers whose applications are traced without a line of code, and the module of each to wait for.

`attach` imports no server: each is looked at when the program imports it. It must not know how a server is wrapped.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Collection
from functools import partial
from types import ModuleType
from typing import Any

from otelfork import workers
from otelfork.servers import uwsgiapps
from otelfork.servers.imports import Hook, Watch

SERVERS = {
    "gunicorn.arbiter": "gunicorn",
    "uvicorn.config": "uvicorn",
    "hypercorn.app_wrappers": "hypercorn",
    "granian.server.mp": "granian",
    "granian.server.mt": "granian",
}
"""What a server imports before it loads an application, and the module here that knows it."""

_logger = logging.getLogger("otelfork")


class _Registry:
    """What is waited for, and what has been attached."""

    def __init__(self) -> None:
        self.watch = Watch(self.wanted)
        self.attached: dict[str, Any] = {}
        self.disabled: frozenset[str] = frozenset()
        self.later: dict[str, list[Callable[[], object]]] = {}

    def wanted(self, name: str) -> Hook | None:
        """Return what is to be done after the import of a module."""
        if name in SERVERS and SERVERS[name] not in self.disabled:
            return partial(self.found, SERVERS[name])
        return uwsgiapps.wanted(name) if "uwsgi" not in self.disabled else None

    def found(self, server: str, module: ModuleType | None = None) -> None:
        """Attach to a server that was imported; the server goes on whatever happens here."""
        del module
        try:
            glue: Any = importlib.import_module(f"otelfork.servers.{server}")
            glue.attach()
            self.attached[server] = glue
            for call in self.later.pop(server, []):
                call()
        except Exception:
            _logger.exception("%s could not be attached to; its application runs on untraced", server)


_registry = _Registry()


def attach(*, disabled: Collection[str] = ()) -> None:
    """Trace the WSGI and ASGI applications that servers of this program load, now or later. Idempotent.

    Args:
        disabled: servers that are left alone, by name; `*` is all.
    """
    names = {*SERVERS.values(), "uwsgi"}
    _registry.disabled = frozenset(names if "*" in disabled else names & set(disabled))
    workers.everyone(begins=True)
    _registry.watch.start()
    if "uwsgi" not in _registry.disabled:
        uwsgiapps.attach()
    for module, server in SERVERS.items():
        if module in sys.modules and server not in _registry.disabled:
            _registry.found(server)


def detach() -> None:
    """Wait for no server any more, and put those that were attached back as they were."""
    workers.everyone(begins=False)
    _registry.watch.stop()
    uwsgiapps.detach()
    while _registry.attached:
        _registry.attached.popitem()[1].detach()
    _registry.later.clear()


def when_attached(server: str, call: Callable[[], object]) -> None:
    """Call something once the program has imported a server; at once if it has.

    Raises:
        KeyError: the server is none of `SERVERS`.
    """
    if server not in SERVERS.values():
        raise KeyError(server)
    if server in _registry.attached:
        call()
    else:
        _registry.later.setdefault(server, []).append(call)
