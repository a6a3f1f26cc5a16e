"""The request of an access log's line that is written when the request's context is gone, and that says nothing of the request.

granian writes the line when the application has returned: on the same thread (WSGI) or in the same task (ASGI), next before any
other request there. So the last exchange that began here is its own, for one line. gunicorn's lines carry their environ and need
none of this (see `records`).
"""

from __future__ import annotations

import contextvars
import logging
import sys
from typing import Any

from otelfork.request import exchange

LOGGERS = ("granian.access",)

_last: contextvars.ContextVar[_Last | None] = contextvars.ContextVar("otelfork.last", default=None)


class _Last:
    """An exchange, and the line that it was found for: the record factory asks first, who exports the record again."""

    __slots__ = ("exchange", "record")

    def __init__(self, begun: exchange.Exchange) -> None:
        self.exchange = begun
        self.record: logging.LogRecord | None = None


def watch() -> None:
    """Remember exchanges from now on, where a server runs that needs it."""
    if "granian" in sys.modules:
        exchange.noticed = _notice


def exchange_of(record: logging.LogRecord) -> Any:
    """Return the exchange that a line is about, or None."""
    if record.name not in LOGGERS:
        return None
    last = _last.get()
    if last is None or last.record not in {None, record}:
        return None
    last.record = record
    return last.exchange


def _notice(begun: exchange.Exchange) -> None:
    _last.set(_Last(begun))
