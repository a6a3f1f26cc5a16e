"""Turns a record of Python's logging into one of OpenTelemetry's, through its API only.

Sources: semantic conventions, code and exception attributes; specification, "Log data model", severities. It must not know where
records come from or go to.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context, get_current
from opentelemetry.trace import get_current_span

from otelfork.logs import afterwards
from otelfork.request.exchange import Exchange
from otelfork.request.origin import MARK

CORRELATION = ("otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName")
"""The attributes of correlated records, by the names of opentelemetry-instrumentation-logging."""

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
# uvicorn's `color_message` is its message once more, with the terminal's colours.
_LEFT_OUT = _STANDARD | set(CORRELATION) | {"color_message"}
_BASES = {1: 5, 2: 9, 3: 13, 4: 17, 5: 21}
_ACCESS_LOG = "{" + MARK + "}e"
_I64 = 1 << 63
_OURS = "otelfork"


class PythonLogRecord(LogRecord):
    """A record that Python's logging has seen already: who writes to Python's logging leaves it out."""


def translate(record: logging.LogRecord) -> PythonLogRecord:
    """Return the record as OpenTelemetry has it, in the context of the request that it belongs to."""
    return PythonLogRecord(
        timestamp=int(record.created * 1e9),
        context=request_context(record) or get_current(),
        severity_text="WARN" if record.levelname == "WARNING" else record.levelname,
        severity_number=severity(record.levelno),
        body=_body(record),
        attributes=_attributes(record),
    )


def severity(level: int) -> SeverityNumber:
    """Return the severity number of a level; levels between Python's own are the finer steps."""
    if level <= 0:
        return SeverityNumber.UNSPECIFIED
    if level < 10:
        return SeverityNumber.TRACE
    if level >= 60:
        return SeverityNumber.FATAL4
    return SeverityNumber(_BASES[level // 10] + min(level % 10, 3))


def request_context(record: logging.LogRecord) -> Context | None:
    """Return the context of a server's record about a request that has left our middleware, or None.

    gunicorn writes its access log when the request's context is gone, but hands its environ's entries to the record as
    `{name}e`; an exception that went through the middleware has its frame, with the exchange, in the traceback.
    """
    if get_current_span().get_span_context().is_valid:
        return None
    arguments = record.args
    exchange = arguments.get(_ACCESS_LOG) if isinstance(arguments, Mapping) else None
    if exchange is None and record.exc_info:
        exchange = _exchange_of(record.exc_info[2])
    if exchange is None:
        exchange = afterwards.exchange_of(record)
    return exchange.context if isinstance(exchange, Exchange) else None


def _exchange_of(step: Any) -> Any:
    while step is not None:
        if str(step.tb_frame.f_globals.get("__package__")).partition(".")[0] == _OURS:
            for found in step.tb_frame.f_locals.values():
                if isinstance(found, Exchange):
                    return found
        step = step.tb_next
    return None


def _body(record: logging.LogRecord) -> Any:
    if record.args or isinstance(record.msg, str):
        try:
            return record.getMessage()
        except Exception:  # logging itself prints such a mistake; the template is better than nothing
            return str(record.msg)
    return _value(record.msg)


def _attributes(record: logging.LogRecord) -> dict[str, Any]:
    attributes = {str(name): _value(value) for name, value in vars(record).items() if name not in _LEFT_OUT}
    attributes["code.file.path"] = record.pathname
    attributes["code.line.number"] = record.lineno
    if record.funcName:
        attributes["code.function.name"] = record.funcName
    if record.exc_info and record.exc_info[0] is not None:
        kind, error, trace = record.exc_info
        attributes["exception.type"] = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        attributes["exception.message"] = str(error)
        attributes["exception.stacktrace"] = "".join(traceback.format_exception(kind, error, trace))
    return attributes


def _value(value: Any) -> Any:
    """Return a copy that every exporter can encode: what OpenTelemetry has no type for becomes text."""
    if value is None or isinstance(value, (str, bool, float, bytes)):
        return value
    if isinstance(value, int):
        return value if -_I64 <= value < _I64 else str(value)
    if isinstance(value, Mapping):
        return {str(name): _value(member) for name, member in value.items()}
    if isinstance(value, Sequence):
        return [_value(member) for member in value]
    return str(value)
