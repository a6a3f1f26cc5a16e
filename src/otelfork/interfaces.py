"""Tells what kind of application somebody hands over: WSGI, ASGI 3, or ASGI 2 (which is called with the scope alone).

By its signature only: it is not called. Sources: PEP 3333; ASGI 3 and 2, "Applications".
"""

from __future__ import annotations

import functools
import inspect
from typing import Any


def detect_interface(app: Any) -> str:
    """Tell `wsgi` from `asgi`: a coroutine function is ASGI 3, else the number of positional parameters decides.

    Raises:
        TypeError: it cannot be told; the message says which argument to give.
    """
    if not callable(app):
        raise TypeError(f"OtelMiddleware wraps a WSGI or ASGI application, not {app!r}")
    if _is_coroutine_callable(app):
        return "asgi"
    # An application class is called with the environ or the scope: its constructor's parameters count.
    required, possible = _positional(app)
    if required <= 2 <= possible and not required <= 1:
        return "wsgi"
    if required == possible == 3 or required == possible == 1:
        return "asgi"
    if required <= 2 <= possible:
        return "wsgi"
    message = (
        f"cannot tell whether {app!r} is a WSGI or an ASGI application: "
        'give OtelMiddleware(app, interface="wsgi") or interface="asgi"'
    )
    raise TypeError(message)


def _is_coroutine_callable(app: Any) -> bool:
    while isinstance(app, functools.partial):
        app = app.func
    if inspect.iscoroutinefunction(app):
        return True
    return not inspect.isclass(app) and inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004


def _positional(app: Any) -> tuple[int, int]:
    """Return how many positional arguments the application needs and takes; (0, 0) where it cannot be told."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return 0, 0
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    return sum(p.default is p.empty for p in positional), len(positional)


def single(app: Any) -> Any:
    """Return the application as ASGI 3; an ASGI 2 one is called with the scope first."""
    if _is_coroutine_callable(app):
        return app
    required, possible = _positional(app)
    if required == possible == 1:
        # Here and not above: asgiref imports asyncio, which a WSGI worker may do without.
        from asgiref.compatibility import double_to_single_callable

        return double_to_single_callable(app)  # type: ignore[no-untyped-call]
    return app
