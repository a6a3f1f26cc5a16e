"""uWSGI: where a worker starts and how it ends, told by its Python module. Its master is C, and runs no code of ours.

A worker that was forked with the application loaded is told by `uwsgi.post_fork_hook`, after the project's own `@postfork`
functions, so that providers which they set win. With `lazy-apps` there is no such moment, and a worker begins with its first
request.
Sources: uWSGI's documentation "The uwsgi Python module", and its `uwsgi_python_post_fork`.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from otelfork import exits, workers

SERVER = "uwsgi"
_RECYCLERS = (
    "max-requests", "max-worker-lifetime", "reload-on-", "evil-reload-on-", "min-worker-lifetime", "worker-reload-on",
)  # fmt: skip
"""Beginnings of the options by which uWSGI replaces a worker that nobody told to go."""


def attach() -> None:
    """Have each worker of this uWSGI begin right after its fork. Does nothing outside uWSGI, nor twice."""
    uwsgi = _module()
    if uwsgi is None or _number(uwsgi) or isinstance(getattr(uwsgi, "post_fork_hook", None), _Hook):
        return
    theirs = [getattr(uwsgi, "post_fork_hook", None)]
    # The module of `@postfork` takes the hook for itself when it is imported: it has to come before ours. Without a master it
    # cannot be imported, and then there is no hook either.
    with contextlib.suppress(Exception):
        importlib.import_module("uwsgidecorators")
    if (chain := getattr(uwsgi, "post_fork_hook", None)) is not theirs[0]:
        theirs.append(chain)
    uwsgi.post_fork_hook = _Hook([hook for hook in theirs if hook is not None])


def working() -> bool:
    """Tell whether this process is a worker of uWSGI; mules, spoolers and the master are none."""
    uwsgi = _module()
    return uwsgi is not None and _number(uwsgi) > 0


def begin() -> None:
    """Begin the life of this worker (see `workers.begin`)."""
    uwsgi = _module()
    if uwsgi is None or not _number(uwsgi):
        return
    exits.before_last_flush(lambda: workers.end(_reason(uwsgi)))
    workers.begin(SERVER, limit=_option(uwsgi, "harakiri"), own_id=_number(uwsgi))


class _Hook:
    """The post-fork hook: those that were there, then ours."""

    def __init__(self, theirs: Sequence[Callable[[], object]]) -> None:
        self._theirs = theirs

    def __call__(self) -> None:
        """Called by uWSGI in each process that it has forked."""
        for hook in self._theirs:
            hook()
        if working():
            begin()
            workers.ready()


def _module() -> Any | None:
    """Return uWSGI's module where this is a process of uWSGI; there is a package of that name for stubs, too."""
    found = sys.modules.get("uwsgi")
    return found if hasattr(found, "worker_id") else None


def _number(uwsgi: Any) -> int:
    return int(uwsgi.worker_id())


def _option(uwsgi: Any, name: str) -> int:
    """Return an option's number; 0 where it is not set. Names and values are bytes or text, by how uWSGI got them."""
    value = uwsgi.opt.get(name, uwsgi.opt.get(name.encode(), b"0"))
    text = value.decode() if isinstance(value, bytes) else str(value)
    return int(text) if text.isdigit() else 0


def _reason(uwsgi: Any) -> str | None:
    """Return why this worker leaves: by itself as an option says, or told to where no option does; else None."""
    own = next((each for each in uwsgi.workers() if each["id"] == _number(uwsgi)), None)
    most, longest = _option(uwsgi, "max-requests"), _option(uwsgi, "max-worker-lifetime")
    if own is not None and most and own["delta_requests"] >= most:
        return "recycled"
    if own is not None and longest and time.time() - own["last_spawn"] >= longest:
        return "recycled"
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in uwsgi.opt]
    return None if any(name.startswith(_RECYCLERS) for name in names) else "stopped"
