"""The ASGI edge: scope to Request, messages to calls of the Exchange. ASGI 3 to the letter.

Every message passes through as it is. The request's context is current in the application's task while it is called, and
at no other time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otelfork import exits, forks, workers
from otelfork.asgi.lending import hooked
from otelfork.asgi.messages import HttpMessages, WebsocketMessages
from otelfork.asgi.scope import (
    GETTER,
    Message,
    Receive,
    Scope,
    Send,
    is_proxied,
    join,
    key,
    own,
    proxied,
    raw_path,
    read,
    required,
    sketch,
)
from otelfork.exits import watching
from otelfork.request import frameworks, origin, routes
from otelfork.request.edge import Edge, Middleware
from otelfork.request.hooks import call, call_within, lend, once
from otelfork.request.kinds import Plan
from otelfork.request.origin import MARK, suppressed, traced_outside
from otelfork.request.propagation import reads_alike, sender
from otelfork.seals import Seal, seal
from otelfork.settings.propagators import propagate

# FastAPI (0.165 and later) and Starlette's own middleware trace a request unless these keys are in its scope; where one of
# them stands around this middleware, it has set its key and has the request (FastAPI span and metrics, Starlette a span).
_FASTAPI, _STARLETTE = "fastapi.telemetry", "starlette.opentelemetry"
_RECORDED = ("http", "websocket")
_QUESTION_MARK = ord("?")
"""A number: looking for bytes in bytes, the interpreter first makes an exception and drops it, for 150 nanoseconds."""
_NOBODY: Seal = bytearray(2)
_new: Any = object.__new__


class ASGIEdge(Edge):
    """What the middleware needs for a request (see `Edge`).

    Attributes:
        quick: whether no hook wants to be asked about spans.
        lifespan: whether the server has begun a lifespan.
        watched: sealed by the first request of a process that has none.
    """

    __slots__ = ("lifespan", "quick", "watched")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.quick = self.hooks.default_span_details is None
        self.lifespan = False
        self.watched = _NOBODY


class ASGIMiddleware(Middleware):
    """An ASGI 3 application around another one that records each of its requests and websockets (see `request.edge.Middleware`)."""

    _edge: ASGIEdge
    _make_edge = ASGIEdge
    _find_route = staticmethod(routes.in_scopes)
    _lent = ("server_request_hook", "client_request_hook", "client_response_hook")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0912 - calls cost
        """Answer as the application does."""
        edge = self._edge
        kind = scope["type"]
        if kind not in _RECORDED:
            await (_live(edge, scope, receive, send) if kind == "lifespan" else edge.app(scope, receive, send))
            return
        try:
            messages = _begin(edge, scope)
        except Exception:
            once("a request could not be recorded", "asgi.begin")
            messages = None
        # Callables are read first and called then: in one step the interpreter looks for a method of the class.
        app, attach, detach = edge.app, edge.attach, edge.detach
        if messages is None:
            if edge.lends:
                receive, send = _lend(edge, scope, receive, send)
            await app(scope, receive, send)
            return
        messages.server_receive = receive
        messages.server_send = send
        inner = messages.scope
        token: Any = attach(messages.context)
        try:
            if edge.lends:  # here, for what is no Exception ends the request
                _call_server_request_hook(edge, messages)
                await app(inner, messages.receive_hooked, messages.send_hooked)
            else:
                await app(inner, messages.receive, messages.send)
        except GeneratorExit:
            # Thrown in by the garbage collector or a closing loop: this is no longer the context it came from.
            token = None
            raise
        except BaseException as error:
            messages.fail(error)
            raise
        finally:
            if token is not None:
                try:
                    detach(token)
                except ValueError:  # the application has made another error of its GeneratorExit: see there
                    token = None
            if not messages.ended:
                messages.leave()
            inner.pop(MARK, None)  # a cycle less: nothing is left to the garbage collector
            if exits.going:
                exits.finish_request()


def _begin(edge: ASGIEdge, scope: Scope) -> HttpMessages | WebsocketMessages | None:
    """Begin an exchange, or return None where there is none to record."""
    if MARK in scope and _runs(scope):
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
    if (_FASTAPI in scope or _STARLETTE in scope) and (scope.get(_FASTAPI) or scope.get(_STARLETTE)):
        frameworks.silence_fastapi(scope)
        return None
    if not edge.lifespan and not edge.watched[0]:  # in this process
        watching.lifespanless()
        edge.watched = seal()
    exclusion = plan.exclusion
    if exclusion is not None and exclusion.by_path(scope.get("raw_path") or b""):
        return None
    return _exchange(edge, plan, scope, current)


def _exchange(edge: ASGIEdge, plan: Plan, scope: Scope, current: object) -> HttpMessages | WebsocketMessages | None:
    """Begin an exchange, if the URL is not excluded: the short way, where a request and its server do as most do."""
    given = scope.get("headers") or ()
    if type(given) is not list:
        given = scope["headers"] = list(given)  # an iterable may be read once only
    headers = dict(given)
    if len(headers) != len(given):
        headers = join(given)
    if (
        current
        or not edge.quick
        or not plan.quick
        or b"baggage" in headers
        or b"tracestate" in headers
        or propagate.get_global_textmap() is not plan.propagator
    ):
        return _begin_with_care(edge, plan, scope, headers, current)
    try:
        known: tuple[Any, ...] = (required(scope), headers.get(b"host"))
        if is_proxied(headers):
            known += proxied(headers)
        kind = plan.kinds.get(known) or plan.kind(known, read(scope, plan.settings))
        path, root, query, (peer, port) = own(scope)
        usual = (
            path
            and not root
            and _QUESTION_MARK not in path
            and type(peer) is str
            and type(port) is int
            and not kind.websocket
        )
    except (KeyError, TypeError, ValueError):  # a server that says less, or in other words
        usual = False
    if not usual:
        return _begin_with_care(edge, plan, scope, headers, current)
    sent = (path, query or b"", headers.get(b"user-agent", b""), peer, port, headers.get(b"x-forwarded-for", b""), None)
    if plan.exclusion is not None and plan.exclusion.search(kind.full_url(sent)):
        return None
    # Not by a call of the class: that costs as much as half of what is in there.
    messages: HttpMessages = _new(HttpMessages)
    # A copy: what a middleware adds to a scope must not be seen by the server (ASGI 3, "Middleware").
    inner: Scope = dict(scope)
    inner[_FASTAPI], inner[_STARLETTE], inner[MARK] = None, True, messages
    header = headers.get(b"traceparent")
    messages.__init__(plan, kind, sent, inner, None if header is None else sender(header), None)
    return messages


def _runs(scope: Scope) -> bool:
    """Tell whether a middleware around this one has the request."""
    outer = scope[MARK]
    if outer.ended:
        return False
    outer.carriers.append(scope)
    return True


def _begin_with_care(
    edge: ASGIEdge, plan: Plan, scope: Scope, headers: Mapping[bytes, bytes], current: object
) -> HttpMessages | WebsocketMessages | None:
    """Begin the exchange of a request that sends more or less than most do, or that something stands around."""
    known = key(scope, headers, plan)
    kind = plan.kinds.get(known) or plan.kind(known, read(scope, plan.settings))
    sent = sketch(scope, headers, plan)
    if plan.exclusion is not None and plan.exclusion.search(kind.full_url(sent)):
        return None
    if current and traced_outside(kind.request(sent), scope, raw_path):
        return None
    inner: Scope = {**scope, _FASTAPI: None, _STARLETTE: True}
    details: Any = None
    if edge.hooks.default_span_details is not None:
        details = call("default_span_details", edge.hooks.default_span_details, inner)
    make = WebsocketMessages if kind.websocket else HttpMessages
    if current or b"baggage" in headers or b"tracestate" in headers or not reads_alike(propagate.get_global_textmap()):
        messages = make(plan, kind, sent, inner, None, (origin.parent_context(inner, GETTER), details))
    else:
        header = headers.get(b"traceparent")
        parent = None if header is None else sender(header)
        messages = make(plan, kind, sent, inner, parent, None if details is None else (None, details))
    inner[MARK] = messages
    return messages


def _call_server_request_hook(edge: ASGIEdge, messages: HttpMessages | WebsocketMessages) -> None:
    hook = edge.hooks.server_request_hook
    if hook is not None:
        call("server_request_hook", hook, messages.span, messages.scope)


def _lend(edge: ASGIEdge, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Call the hooks with the request of a middleware around this one; return what the application receives and sends by."""
    outer = scope.get(MARK)
    if outer is None or outer.ended:
        return receive, send
    lent = lend(outer, edge.hooks)
    if lent.server_request_hook is not None:
        call_within(outer.context, "server_request_hook", lent.server_request_hook, outer.span, scope)
    return hooked(outer, lent, scope, receive, send)


def _start(edge: ASGIEdge, scope: Scope) -> None:
    """Make the first use of this process's telemetry, before its first request."""
    forks.ensure()
    try:
        if edge.instruments() is not None:
            frameworks.silence_fastapi(scope)
    except Exception:
        once("telemetry could not be started with the lifespan", "asgi.start")


async def _live(edge: ASGIEdge, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass the lifespan through; its start is a first use of this process's telemetry, its end the time to flush."""

    async def watch_receive() -> Message:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _start(edge, scope)
        return message

    async def watch_send(message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            edge.lifespan = True
            workers.ready()
        elif kind.startswith("lifespan.shutdown."):
            exits.leave(lifespan=True)
        await send(message)

    await edge.app(scope, watch_receive, watch_send)
