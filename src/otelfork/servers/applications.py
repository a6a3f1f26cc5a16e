"""What a server loads, wrapped: an application of any kind becomes one that is traced, once."""

from __future__ import annotations

import logging
from typing import Any

from otelfork.middleware import OtelMiddleware

_NEITHER = ("tornado", "aiohttp")
"""Frameworks whose applications are neither WSGI nor ASGI, and may look like it."""
_logger = logging.getLogger("otelfork")


def wrap(app: Any, *, interface: str | None = None, **options: Any) -> Any:
    """Return the application with an `OtelMiddleware` around it. One that has it already, or is of another kind, stays as it is.

    Args:
        app: what a server is about to serve.
        interface: `wsgi` or `asgi` where the server knows.
        options: those of `OtelMiddleware`.
    """
    if isinstance(app, OtelMiddleware) or _is_neither(app):
        return app
    try:
        return OtelMiddleware(app, interface=interface, **options)
    except Exception as error:
        _logger.warning("%s; it runs on untraced", error)
        return app


def _is_neither(app: Any) -> bool:
    return any(kind.__module__.partition(".")[0] in _NEITHER for kind in type(app).__mro__)
