"""The ASGI edge: scope to Request, messages to calls of the Exchange. ASGI 3 to the letter.

Every message passes through as it is. The request's context is current in the application's task while it is called, and
at no other time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otelfork import exits, forks, workers
from otelfork.asgi.messages import HttpMessages, WebsocketMessages, hooked
from otelfork.asgi.scope import (
    GETTER,
    ASGIApplication,
    Message,
    Receive,
    Scope,
    Send,
    join,
    key,
    raw_path,
    read,
    sketch,
)
from otelfork.exits import watching
from otelfork.lane.current import ways
from otelfork.request import frameworks, origin, routes
from otelfork.request.exchange import MARK
from otelfork.request.hooks import NO_HOOKS, Hooks, call, call_within, lend, once
from otelfork.request.instruments import Instruments
from otelfork.request.kinds import Kind, Plan, Sketch
from otelfork.request.origin import suppressed, traced_outside
from otelfork.request.propagation import DEFAULT, reads_alike, sender
from otelfork.seals import Seal, seal
from otelfork.settings.http import HttpSettings
from otelfork.settings.propagators import propagate

# FastAPI (0.165 and later) and Starlette's own middleware trace a request unless these keys are in its scope; where one of
# them stands around this middleware, it has set its key and has the request (FastAPI span and metrics, Starlette a span).
_TRACED_HERE = {"fastapi.telemetry": None, "starlette.opentelemetry": True}


_BROKEN = (False,)
_RECORDED = ("http", "websocket")


class ASGIMiddleware:
    """An ASGI 3 application around another one that records each of its requests and websockets.

    Args:
        app: the application.
        instruments: asked once at the beginning of each request; None means to pass the request through untouched.
        settings: what to record, hide and add.
        hooks: what the user wants to be called with.
    """

    def __init__(
        self,
        app: ASGIApplication,
        *,
        instruments: Callable[[], Instruments | None],
        settings: HttpSettings,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        self.app = app
        self._instruments = instruments
        self._settings = settings
        self._hooks = hooks
        self._lends = any((hooks.server_request_hook, hooks.client_request_hook, hooks.client_response_hook))
        self._lifespan = False
        self._watched: Seal = _BROKEN
        """Sealed by the first request of a process that has no lifespan."""
        self._plan: Plan | None = None
        self._current, self._attach, self._detach = ways()
        frameworks.prepare(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        messages = self._guarded(scope)
        if messages is None:
            if self._lends:
                receive, send = self._lend(scope, receive, send)
            await self.app(scope, receive, send)
            return
        messages.server_receive = receive
        messages.server_send = send
        inner = messages.scope
        token: Any = self._attach(messages.context)
        hook = self._hooks.server_request_hook
        try:
            if hook is not None:  # here, for what is no Exception ends the request
                call("server_request_hook", hook, messages.span, inner)
            await self.app(inner, messages.receive, messages.send)
        except GeneratorExit:
            # Thrown in by the garbage collector or a closing loop: this is no longer the context it came from.
            token = None
            raise
        except BaseException as error:
            messages.fail(error)
            raise
        finally:
            if token is not None:
                self._let_go(token)
            if not messages.ended:
                messages.leave()
            inner.pop(MARK, None)  # a cycle less: nothing is left to the garbage collector
            exits.finish_request()

    def _let_go(self, token: Any) -> None:
        try:
            self._detach(token)
        except ValueError:  # the application has made another error of its GeneratorExit: see there
            return

    def _guarded(self, scope: Scope) -> HttpMessages | WebsocketMessages | None:
        """Begin an exchange, or return None where there is none to record. The guard of the request's begin."""
        try:
            messages = self._begin(scope)
        except Exception:
            once("a request could not be recorded", "asgi.begin")
            return None
        return messages

    def _begin(self, scope: Scope) -> HttpMessages | WebsocketMessages | None:
        outer = scope.get(MARK)
        if outer is not None and not outer.ended:
            outer.carriers.append(scope)
            return None
        instruments = self._instruments()
        current = self._current()
        if instruments is None or scope["type"] not in _RECORDED or (current and suppressed()):
            return None
        plan = self._plan
        if plan is None or plan.instruments is not instruments:
            self._plan = plan = Plan(instruments, self._settings, routes.of_scope, self._hooks)
        if scope.get("fastapi.telemetry") or scope.get("starlette.opentelemetry"):
            frameworks.silence_fastapi(scope)
            return None
        if not self._lifespan and not self._watched[0]:  # in this process
            watching.lifespanless()
            self._watched = seal()
        given = scope.get("headers") or ()
        if not isinstance(given, list):
            given = scope["headers"] = list(given)  # an iterable may be read once only
        headers = join(given)
        known = key(scope, headers, plan)
        kind = plan.kinds.get(known) or plan.kind(known, read(scope, plan.settings))
        own = sketch(scope, headers, plan)
        search = plan.search_excluded
        if search is not None and search(kind.full_url(own)):
            return None
        if current and traced_outside(kind.request(own), scope, raw_path):
            return None
        return self._exchange(scope, headers, plan, kind, own)

    def _lend(self, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Call the hooks with the request of a middleware around this one; return what the application receives and sends by."""
        outer = scope.get(MARK)
        if outer is None or outer.ended:
            return receive, send
        lent = lend(outer, self._hooks)
        if lent.server_request_hook is not None:
            call_within(outer.context, "server_request_hook", lent.server_request_hook, outer.span, scope)
        return hooked(outer, lent, scope, receive, send)

    def _exchange(
        self, scope: Scope, headers: Mapping[bytes, bytes], plan: Plan, kind: Kind, own: Sketch
    ) -> HttpMessages | WebsocketMessages:
        # A copy: what a middleware adds to a scope must not be seen by the server (ASGI 3, "Middleware").
        inner: Scope = {**scope, **_TRACED_HERE}
        details: Any = None
        if self._hooks.default_span_details is not None:
            details = call("default_span_details", self._hooks.default_span_details, inner)
        make = WebsocketMessages if kind.websocket else HttpMessages
        if (
            self._current()
            or b"baggage" in headers
            or b"tracestate" in headers
            or not ((seated := propagate.get_global_textmap()) is DEFAULT or reads_alike(seated))
        ):
            messages = make(plan, kind, own, inner, None, (origin.parent_context(inner, GETTER), details))
        else:
            header = headers.get(b"traceparent")
            sent = None if header is None else sender(header.decode("latin-1"))
            messages = make(plan, kind, own, inner, sent, None if details is None else (None, details))
        messages.scope = inner
        messages.hooks = self._hooks
        inner[MARK] = messages
        return messages

    def _start(self, scope: Scope) -> None:
        """Make the first use of this process's telemetry, before its first request."""
        forks.ensure()
        try:
            if self._instruments() is not None:
                frameworks.silence_fastapi(scope)
        except Exception:
            once("telemetry could not be started with the lifespan", "asgi.start")

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan through; its start is a first use of this process's telemetry, its end the time to flush."""

        async def watch_receive() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._start(scope)
            return message

        async def watch_send(message: Message) -> None:
            kind = message["type"]
            if kind == "lifespan.startup.complete":
                self._lifespan = True
                workers.ready()
            elif kind.startswith("lifespan.shutdown."):
                exits.leave(lifespan=True)
            await send(message)

        await self.app(scope, watch_receive, watch_send)
