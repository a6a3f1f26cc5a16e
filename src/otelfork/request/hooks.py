"""The user's hooks, with the argument orders of contrib's two middlewares, each called on our side of a guard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span

_logger = logging.getLogger("otelfork")
_said: set[str] = set()

Environ: TypeAlias = "MutableMapping[str, Any]"
Hook: TypeAlias = "Callable[..., object]"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the user wants to be called with. A hook that raises is logged once; the request goes on."""

    request_hook: Callable[[Span, Environ], object] | None = None
    """WSGI: the span and the environ, when the request begins."""
    response_hook: Callable[[Span, Environ, str, list[tuple[str, str]]], object] | None = None
    """WSGI: the span, the environ, the status line and the headers, at `start_response`."""
    server_request_hook: Callable[[Span, Mapping[str, Any]], object] | None = None
    """ASGI: the span and the scope, when the request begins."""
    client_request_hook: Callable[[Span, Mapping[str, Any], Mapping[str, Any]], object] | None = None
    """ASGI: the span, the scope and each message that was received."""
    client_response_hook: Callable[[Span, Mapping[str, Any], Mapping[str, Any]], object] | None = None
    """ASGI: the span, the scope and each message that is sent."""
    default_span_details: Callable[[Mapping[str, Any]], tuple[str, Mapping[str, Any]]] | None = None
    """ASGI: makes the span's first name and further attributes of the scope."""


NO_HOOKS = Hooks()
_CALLED = ("request_hook", "response_hook", "server_request_hook", "client_request_hook", "client_response_hook")


class Hooked(Protocol):
    """An exchange, as to its hooks."""

    hooks: Hooks
    """Those of the middleware that began it."""
    lent: Hooks
    """Those and what middlewares inside it have lent. Not set where none has: the request path shall not pay for it."""


def lend(exchange: Hooked, hooks: Hooks) -> Hooks:
    """Return those of an inner middleware's hooks that it is to call: a hook is that of the outermost middleware that has it.

    So what zero code puts around an application changes nothing for its hooks, and hooks given to two middlewares are called
    once. `default_span_details` is not among them: the span has begun.

    Args:
        exchange: the one that runs, of a middleware further out; it keeps what was lent.
        hooks: the inner one's.
    """
    had = getattr(exchange, "lent", exchange.hooks)
    lent = {name: hook for name in _CALLED if getattr(had, name) is None and (hook := getattr(hooks, name)) is not None}
    exchange.lent = replace(had, **lent)
    return Hooks(**lent)


def call(name: str, hook: Hook, *arguments: object) -> object:
    """Call a hook; what it raises is logged the first time and goes no further."""
    try:
        return hook(*arguments)
    except Exception:
        once(f"the hook {name} failed", name)
        return None


def call_within(context: Context, name: str, hook: Hook, *arguments: object) -> object:
    """Call a hook with a request's context current, as contrib does: it may ask for the current span."""
    token = attach(context)
    try:
        return call(name, hook, *arguments)
    finally:
        detach(token)


def once(message: str, key: str) -> None:
    """Log the exception that is being handled, the first time this key comes up in this process."""
    if key not in _said:
        _said.add(key)
        _logger.exception("%s; the request goes on", message)  # noqa: LOG004 called while an exception is handled
