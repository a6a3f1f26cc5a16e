"""The current context, without the four calls that the API puts between a request and a `ContextVar`.

Private names of the API used here: `opentelemetry.context._RUNTIME_CONTEXT`, if it is the API's own `ContextVarsRuntimeContext`,
and the `_current_context` in it. Probe: what is set by these ways is seen by the API. Fallback: the API's functions.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from otelfork.settings import Environment


class Current(NamedTuple):
    """The ways to the current context."""

    get: Callable[[], Context]
    attach: Callable[[Context], Any]
    detach: Callable[[Any], object]
    """Puts back what was current before; a token of another context is an error that the API logs, and ValueError here."""


def ways() -> Current:
    """Return the quickest ways that are allowed (OTELFORK_PUBLIC_NAMES_ONLY) and lead to the same as the public ones."""
    return PUBLIC if Environment().boolean("OTELFORK_PUBLIC_NAMES_ONLY") else _quickest()


PUBLIC = Current(contexts.get_current, contexts.attach, contexts.detach)


@cache
def _quickest() -> Current:
    try:
        held: Any = contexts._RUNTIME_CONTEXT
        variable: Any = held._current_context
        if type(held) is not ContextVarsRuntimeContext or type(variable) is not ContextVar:
            return PUBLIC
        found = Current(variable.get, variable.set, variable.reset)
        token = found.attach(Context({"otelfork.probe": True}))
        seen = contexts.get_value("otelfork.probe"), found.get() is contexts.get_current()
        found.detach(token)
    except Exception:
        return PUBLIC
    return found if seen == (True, True) else PUBLIC
