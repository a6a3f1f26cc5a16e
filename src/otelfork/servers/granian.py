"""granian: the loader that a worker gets for its application, which is loaded in the worker alone.

`MPServer._spawn_worker` and its counterpart for threads are wrapped, because every worker's loader passes there, those of a respawn
and of a user's own `serve(target_loader=)` too. They are private names; a granian without them runs untraced, which is said.
RSGI applications are left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from otelfork.servers import applications
from otelfork.servers.seams import Seams

_INTERFACES = {"asgi": "asgi", "asginl": "asgi", "wsgi": "wsgi"}
_LOADER = 2
"""Which argument of `_spawn_worker` the loader is."""
_seams = Seams()


def attach() -> None:
    """Trace the applications of those of granian's servers that are imported. Idempotent.

    Raises:
        AttributeError: it is a granian whose classes are unknown here.
    """
    for module, name in (("granian.server.mp", "MPServer"), ("granian.server.mt", "MTServer")):
        if module in sys.modules:
            _seams.wrap(getattr(sys.modules[module], name), "_spawn_worker", _spawn_worker)


def detach() -> None:
    """Put granian back as it was."""
    _seams.restore()


@dataclass(frozen=True, slots=True)
class Traced:
    """Loads an application and wraps it, in the worker. It travels to spawned workers by pickle."""

    load: Callable[..., Any]
    interface: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Load as granian's loader does."""
        return applications.wrap(self.load(*arguments, **named), interface=self.interface)


def _spawn_worker(original: Callable[..., Any], server: Any, *arguments: Any, **named: Any) -> Any:
    interface = _INTERFACES.get(str(getattr(server.interface, "value", server.interface)))
    if interface is not None:
        if "callback_loader" in named:
            named = {**named, "callback_loader": Traced(named["callback_loader"], interface)}
        elif len(arguments) > _LOADER:
            traced = Traced(arguments[_LOADER], interface)
            arguments = (*arguments[:_LOADER], traced, *arguments[_LOADER + 1 :])
    return original(server, *arguments, **named)
