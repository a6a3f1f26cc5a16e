"""uvicorn: the application of a `Config`, whoever runs it: the command, its workers, `--reload`, gunicorn's worker class.

`Config.load` is wrapped (public; uvicorn documents it for servers of one's own). What it has loaded may stand in middlewares of
uvicorn's own; ours goes under those that correct the client's address, as the one line in the application would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from otelfork.servers import applications
from otelfork.servers.seams import Seams

_OUTSIDE = ("uvicorn.middleware.proxy_headers", "uvicorn.middleware.message_logger")
"""Where uvicorn's own middlewares come from that stay outside ours."""
_logger = logging.getLogger("otelfork")
_seams = Seams()


def attach() -> None:
    """Trace the applications that uvicorn loads. Idempotent.

    Raises:
        ImportError: uvicorn is not installed.
    """
    from uvicorn.config import Config

    _seams.wrap(Config, "load", _load)


def detach() -> None:
    """Put uvicorn back as it was."""
    _seams.restore()


def _load(original: Callable[[Any], None], config: Any) -> None:
    original(config)
    try:
        _trace(config)
    except Exception:
        _logger.exception("uvicorn's application could not be wrapped; it runs on untraced")


def _trace(config: Any) -> None:
    holder, name = config, "loaded_app"
    while type(getattr(holder, name)).__module__ in _OUTSIDE:
        holder, name = getattr(holder, name), "app"
    interface = "asgi"
    if config.interface == "wsgi":
        # uvicorn's adapter: the WSGI application in it, for its framework knows the route.
        holder, name, interface = getattr(holder, name), "app", "wsgi"
    setattr(holder, name, applications.wrap(getattr(holder, name), interface=interface))
