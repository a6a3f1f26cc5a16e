"""The WSGI edge: environ to facts, `start_response` and the iterable to calls of the Exchange. PEP 3333 to the letter.

The request's context is current while the application's code runs (its call, each step of its iterable, its `close`) and
at no other time, so that nothing of one request stays on the thread for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from otelfork.request import origin, routes
from otelfork.request.edge import Edge, Middleware
from otelfork.request.hooks import call, call_within, lend, once
from otelfork.request.kinds import Plan
from otelfork.request.origin import MARK, suppressed, traced_outside
from otelfork.request.propagation import reads_alike, sender
from otelfork.settings.propagators import propagate
from otelfork.wsgi.body import wrap
from otelfork.wsgi.environ import (
    GETTER,
    Environ,
    is_proxied,
    key,
    own,
    proxied,
    raw_path,
    read,
    required,
    sketch,
    watch_input,
)
from otelfork.wsgi.response import Blocks, Response, StartResponse, end

WSGIApplication: TypeAlias = "Callable[[Environ, StartResponse], Iterable[bytes]]"
_new: Any = object.__new__


class WSGIMiddleware(Middleware):
    """A WSGI application around another one that records each of its requests (see `request.edge.Middleware`)."""

    _find_route = staticmethod(routes.in_environs)
    _lent = ("request_hook", "response_hook")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request as the application does."""
        edge = self._edge
        try:
            response = _begin(edge, environ)
        except Exception:
            once("a request could not be recorded", "wsgi.begin")
            response = None
        if response is None:
            passed: Iterable[bytes] = edge.app(
                environ, _lend(edge, environ, start_response) if edge.lends else start_response
            )
            return passed
        response.server = start_response
        response.headers_sent = ()
        # Callables are read first and called then: in one step the interpreter looks for a method of the class.
        app, attach, detach = edge.app, edge.attach, edge.detach
        token = attach(response.context)
        try:
            if edge.lends:  # here, for what is no Exception ends the request
                _call_request_hook(edge, response, environ)
            result = app(environ, response.start)
        except BaseException as error:
            response.fail(error)
            end(response)
            raise
        finally:
            detach(token)
        kind = type(result)
        if kind is list or kind is tuple:
            whole: Blocks = _new(Blocks)  # see there
            whole.blocks, whole.response, whole.iterators = result, response, None
            return whole
        body: Iterable[bytes] = wrap(result, response, environ.get("wsgi.file_wrapper"), edge.ways)
        return body


def _begin(edge: Edge, environ: Environ) -> Response | None:  # noqa: PLR0911 - there are as many reasons to pass it through
    """Begin an exchange, or return None where there is none to record."""
    if MARK in environ and _runs(environ):
        return None
    plan = edge.plan
    if plan is None or plan.seal[1] != plan.turn:
        plan = edge.planned()
        if plan is None:
            return None
    get_current = edge.current
    current = get_current()
    if current and suppressed():
        return None
    exclusion = plan.exclusion
    if exclusion is not None and exclusion.by_path(raw_path(environ)):
        return None
    if (
        current
        or not plan.quick
        or "HTTP_BAGGAGE" in environ
        or "HTTP_TRACESTATE" in environ
        or propagate.get_global_textmap() is not plan.propagator
    ):
        return _begin_with_care(plan, environ, current)
    try:
        known = required(environ)
        uri, query, agent, peer, port = own(environ)
        path = uri.partition("?")[0]
    except (KeyError, AttributeError):  # a server or a client that says less
        return _begin_with_care(plan, environ, current)
    if not path or path[0] != "/":
        return _begin_with_care(plan, environ, current)
    if is_proxied(environ):
        known += proxied(environ)
    kind = plan.kinds.get(known) or plan.kind(known, read(environ, plan.settings))
    sent = (path, query or "", agent or "", peer or "", port, environ.get("HTTP_X_FORWARDED_FOR") or "", None)
    if exclusion is not None and exclusion.search(kind.full_url(sent)):
        return None
    header = environ.get("HTTP_TRACEPARENT")
    # Not by a call of the class: that costs as much as half of what is in there.
    response: Response = _new(Response)
    response.__init__(plan, kind, sent, environ, None if header is None else sender(header))
    environ[MARK] = response
    if "CONTENT_LENGTH" in environ or kind.framed or "HTTP_TRANSFER_ENCODING" in environ:
        watch_input(environ, response, framed=kind.framed)
    return response


def _begin_with_care(plan: Plan, environ: Environ, current: object) -> Response | None:
    """Begin the exchange of a request that sends more or less than most do, or that something stands around."""
    known = key(environ, plan)
    kind = plan.kinds.get(known) or plan.kind(known, read(environ, plan.settings))
    sent = sketch(environ, plan)
    if plan.exclusion is not None and plan.exclusion.search(kind.full_url(sent)):
        return None
    if (
        current
        or "HTTP_BAGGAGE" in environ
        or "HTTP_TRACESTATE" in environ
        or not reads_alike(propagate.get_global_textmap())
    ):
        if current and traced_outside(kind.request(sent), environ, raw_path):
            return None
        response = Response(plan, kind, sent, environ, None, (origin.parent_context(environ, GETTER), None))
    else:
        header = environ.get("HTTP_TRACEPARENT")
        response = Response(plan, kind, sent, environ, None if header is None else sender(header))
    environ[MARK] = response
    watch_input(environ, response, framed=kind.framed)
    return response


def _runs(environ: Environ) -> bool:
    """Tell whether a middleware around this one has the request, which may have been given another environ since."""
    outer = environ[MARK]
    if outer.ended:
        return False
    if environ is not outer.carriers[-1]:
        outer.carriers.append(environ)
    return True


def _call_request_hook(edge: Edge, response: Response, environ: Environ) -> None:
    hook = edge.hooks.request_hook
    if hook is not None:
        call("request_hook", hook, response.span, environ)


def _lend(edge: Edge, environ: Environ, start_response: StartResponse) -> StartResponse:
    """Call the hooks with the request of a middleware around this one; return the `start_response` for the application."""
    outer = environ.get(MARK)
    if outer is None or outer.ended:
        return start_response
    lent = lend(outer, edge.hooks)
    if lent.request_hook is not None:
        call_within(outer.context, "request_hook", lent.request_hook, outer.span, environ)
    hook = lent.response_hook
    if hook is None:
        return start_response

    def start(status: str, headers: list[tuple[str, str]], *exc_info: object) -> Callable[[bytes], object]:
        call("response_hook", hook, outer.span, environ, status, headers)
        return start_response(status, headers, *exc_info)

    return start
