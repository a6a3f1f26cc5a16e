"""What stands around a request when it begins: a wish for silence, another instrumentation, a span to be the child of."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any
from urllib.parse import unquote

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import NonRecordingSpan, SpanKind

from otelfork import semconv
from otelfork.request import propagation
from otelfork.request.facts import Request
from otelfork.senders import remote
from otelfork.settings.propagators import propagate

MARK = "otelfork.exchange"
"""Key in environ or scope under which a middleware inside another one finds the exchange that already runs."""
RECORDED = "otelfork.recorded"
"""Context key inside a request that is recorded here: what another instrumentation measures of it would count it twice.

Its value is the list of the request's environs or scopes, of which the first has the `MARK`, and which is empty when the request is
over; True where the request has not begun."""
BASE = Context({RECORDED: True})
_set: Any = dict.setdefault  # the context's own refuses
_SUPPRESSED = ("suppress_instrumentation", "suppress_http_instrumentation")


def suppressed() -> bool:
    """Tell whether the current context asks for silence (`suppress_instrumentation`, `suppress_http_instrumentation`).

    The API gives these keys no public name, but their text begins with the plain name (`create_key` adds a random end),
    and a context at the beginning of a request is nearly always empty.
    """
    current = contexts.get_current()
    return bool(current) and any(key.startswith(_SUPPRESSED) and value for key, value in current.items())


def traced_outside(request: Request, carrier: Mapping[str, Any], raw_path: Callable[[Any], str]) -> bool:
    """Tell whether another instrumentation around this one records this very request already, sampled or not.

    Ours may be around it too, behind an adapter between ASGI and WSGI that makes the carrier anew. Another's SERVER span may be the
    current one (that of another request that calls this application in-process names another path), or contrib's
    middleware may be further up the stack with this request.

    Args:
        request: what was sent.
        carrier: its environ or scope.
        raw_path: returns the path of such a carrier as it was sent.
    """
    if not contexts.get_current():
        return False
    around = contexts.get_value(RECORDED)
    for carrier_around in (
        around[:1] if isinstance(around, list) else ()
    ):  # at once: another thread may end that request
        outer = carrier_around.get(MARK)
        if outer is not None and outer.is_of(request):
            return True
    return _is_server_span_of(request, trace.get_current_span()) or _contrib_around(request, carrier, raw_path)


class UnsampledServerSpan(trace.NonRecordingSpan):
    """A SERVER span that was not sampled, and still says what it was started for: its request is measured all the same.

    Args:
        context: its context.
        request: the attributes that it was started with.
    """

    def __init__(self, context: trace.SpanContext, request: Mapping[str, Any]) -> None:
        super().__init__(context)
        self.request: Mapping[str, Any] | None = request

    def end(self, end_time: int | None = None) -> None:
        """Forget the request: the span may stay current somewhere, and is nobody's any more."""
        self.request = None


def told(span: trace.Span, kind: SpanKind, attributes: Mapping[str, Any] | None) -> trace.Span:
    """Return a span just started, as an `UnsampledServerSpan` if it is one."""
    if kind is not SpanKind.SERVER or type(span) is not trace.NonRecordingSpan:
        return span
    return UnsampledServerSpan(span.get_span_context(), attributes or {})


def _is_server_span_of(request: Request, span: trace.Span) -> bool:
    if isinstance(span, UnsampledServerSpan) and span.request is not None:
        seen = span.request
    elif span.is_recording() and getattr(span, "kind", None) is SpanKind.SERVER:
        seen = getattr(span, "attributes", None) or {}
    else:
        return False  # of no server, or ended: an earlier request left it here
    named = seen.get(semconv.HTTP_REQUEST_METHOD) or seen.get("http.method")
    if named not in {request.method, semconv.OTHER_METHOD} and (named is not None or not request.websocket):
        return False
    target = str(seen.get(semconv.URL_PATH) or seen.get("http.target") or seen.get("http.url") or "")
    # Some record the path as sent, some decoded.
    return not target or unquote(target.partition("?")[0]).endswith(unquote(request.path))


def _contrib_around(request: Request, carrier: Mapping[str, Any], raw_path: Callable[[Any], str]) -> bool:
    """Tell whether one of contrib's middlewares is on the stack with this request.

    It leaves no mark in environ or scope, and a span that was not sampled does not tell what it is: without this look the
    span of an application that calls another one in-process would be taken for a server's. `span` is a local variable of
    theirs: without it the request was excluded there, or is silent by other means.
    """
    calls = _contrib_calls()
    frame = inspect.currentframe() if calls else None
    while frame is not None:
        name = calls.get(frame.f_code)
        if name is not None and "span" in frame.f_locals:
            seen = frame.f_locals.get(name)
            if seen is carrier or (isinstance(seen, Mapping) and _is_of(request, seen, raw_path)):
                return True
        frame = frame.f_back
    return False


def _is_of(request: Request, carrier: Mapping[str, Any], raw_path: Callable[[Any], str]) -> bool:
    method = carrier.get("REQUEST_METHOD") or carrier.get("method") or "GET"
    return method == request.method and raw_path(carrier) == request.path


def _contrib_calls() -> Mapping[CodeType, str]:
    """Return the code of `__call__` of contrib's middlewares, as far as they are imported, with the carrier's name in it."""
    classes = (
        (getattr(sys.modules.get(f"opentelemetry.instrumentation.{name}"), "OpenTelemetryMiddleware", None), carrier)
        for name, carrier in (("wsgi", "environ"), ("asgi", "scope"))
    )
    calls = ((getattr(each, "__call__", None), carrier) for each, carrier in classes if each is not None)  # noqa: B004
    return {call.__code__: carrier for call, carrier in calls if isinstance(call, FunctionType)}


def with_sender(sender: bytes | None) -> Context:
    """Return the context to start in, where nothing is in it but the sender (see `propagation.sender`)."""
    if sender is None:
        return BASE
    # In place of a dictionary that would be copied; nobody has seen the context yet.
    made = Context()
    _set(made, RECORDED, True)
    _set(made, propagation.SPAN_KEY, NonRecordingSpan(remote(sender)))
    return made


def parent_context(carrier: Mapping[str, Any], getter: Getter[Any]) -> Context:
    """Return the context to start in: what was sent, or a span of this process that runs around the request."""
    current = contexts.get_current()
    around = trace.get_current_span(current) if current else None
    if around is None or not _is_running(around, left=_is_left(current)):
        return propagation.received(carrier, BASE, getter)
    found = propagate.extract(carrier, contexts.set_value(RECORDED, True, current), getter)
    if trace.get_current_span(found).get_span_context().trace_id == around.get_span_context().trace_id:
        # The span around this request came of the same headers: it is the nearer parent.
        return trace.set_span_in_context(around, found)
    return found


def _is_left(context: Context) -> bool:
    """Tell the context of a request that is over: servers read a connection's next request in what its last one left."""
    around = context.get(RECORDED)
    return isinstance(around, list) and not around


def _is_running(span: trace.Span, *, left: bool) -> bool:
    """Tell a span that runs around this request from one that another request left on this thread, ended long ago.

    A span that is not sampled does not say whether it has ended: in a context that is left (see `_is_left`) it has.
    """
    if span.is_recording():
        return True
    seen = span.get_span_context()
    return not left and isinstance(span, NonRecordingSpan) and seen.is_valid and not seen.is_remote
