"""hypercorn: the application that it puts into its `ASGIWrapper` or `WSGIWrapper`, from the command or from `serve()`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from otelfork.servers import applications
from otelfork.servers.seams import Seams

_seams = Seams()


def attach() -> None:
    """Trace the applications that hypercorn wraps. Idempotent.

    Raises:
        ImportError: hypercorn is not installed.
    """
    from hypercorn.app_wrappers import ASGIWrapper, WSGIWrapper

    _seams.wrap(ASGIWrapper, "__init__", partial(_init, "asgi"))
    _seams.wrap(WSGIWrapper, "__init__", partial(_init, "wsgi"))


def detach() -> None:
    """Put hypercorn back as it was."""
    _seams.restore()


def _init(interface: str, original: Callable[..., None], wrapper: Any, app: Any, *rest: Any, **named: Any) -> None:
    original(wrapper, applications.wrap(app, interface=interface), *rest, **named)
