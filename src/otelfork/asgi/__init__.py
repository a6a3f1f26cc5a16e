"""The ASGI edge: scope to Request, messages to calls of the Exchange. ASGI 3 to the letter.

Every message passes through as it is. The request's context is current in the application's task while it is called, and
at no other time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import attach, detach

from otelfork import exits, forks
from otelfork.asgi.messages import HttpMessages, WebsocketMessages
from otelfork.asgi.scope import GETTER, ASGIApplication, Message, Receive, Scope, Send, raw_path, read
from otelfork.request import frameworks, routes
from otelfork.request.attributes import full_url
from otelfork.request.exchange import MARK, Exchange
from otelfork.request.hooks import Hooks, call, call_within, once
from otelfork.request.instruments import Instruments
from otelfork.request.origin import suppressed, traced_outside
from otelfork.settings.http import HttpSettings

_NO_HOOKS = Hooks()

# FastAPI (0.165 and later) and Starlette's own middleware trace a request unless these keys are in its scope; where one of
# them stands around this middleware, it has set its key and has the request (FastAPI span and metrics, Starlette a span).
_TRACED_HERE = {"fastapi.telemetry": None, "starlette.opentelemetry": True}


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
        hooks: Hooks = _NO_HOOKS,
    ) -> None:
        self.app = app
        self._instruments = instruments
        self._settings = settings
        self._hooks = hooks
        self._lifespan = False
        frameworks.prepare(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(scope, receive, send)
            return
        if kind not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        scope, exchange = self._begin(scope)
        if exchange is None:
            await self.app(scope, receive, send)
            return
        messages = (WebsocketMessages if kind == "websocket" else HttpMessages)(
            exchange, scope, receive, send, self._hooks
        )
        token: Any = attach(exchange.context)
        try:
            await self.app(scope, messages.receive, messages.send)
        except GeneratorExit:
            token = (
                None  # thrown in by the garbage collector or a closing loop: this is no longer the context it came from
            )
            messages.leave()
            raise
        except BaseException as error:
            messages.fail(error)
            raise
        finally:
            if token is not None:
                detach(token)
            messages.leave()
            exits.finish_request()

    def _begin(self, scope: Scope) -> tuple[Scope, Exchange | None]:
        """Begin an exchange, or return None where there is none to record. The guard of the request's begin."""
        try:
            outer = scope.get(MARK)
            if outer is not None and not outer.ended:
                outer.carriers.append(scope)
                return scope, None
            instruments = self._instruments()
            if instruments is None or suppressed():
                return scope, None
            if any(scope.get(key) for key in _TRACED_HERE):
                frameworks.silence_fastapi(scope)
                return scope, None
            if not self._lifespan:
                exits.watch()
            # A copy: what a middleware adds to a scope must not be seen by the server (ASGI 3, "Middleware").
            inner: Scope = {**scope, **_TRACED_HERE}
            if not isinstance(inner.get("headers", []), list):
                inner["headers"] = list(inner["headers"])  # an iterable may be read once only
            exchange = self._exchange(inner, instruments)
        except Exception:
            once("a request could not be recorded", "asgi.begin")
            return scope, None
        return inner, exchange

    def _exchange(self, scope: Scope, instruments: Instruments) -> Exchange | None:
        settings, hooks = self._settings, self._hooks
        request = read(scope, settings)
        if settings.excluded is not None and settings.excluded.search(full_url(request, settings)):
            return None
        if traced_outside(request, scope, raw_path):
            return None
        details: Any = None
        if hooks.default_span_details is not None:
            details = call("default_span_details", hooks.default_span_details, scope)
        exchange = Exchange(request, scope, GETTER, instruments, settings, find_route=routes.of_scope, details=details)
        scope[MARK] = exchange
        hook = hooks.server_request_hook
        if hook is not None:
            call_within(exchange.context, "server_request_hook", hook, exchange.span, scope)
        return exchange

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
            elif kind.startswith("lifespan.shutdown."):
                exits.leave(lifespan=True)
            await send(message)

        await self.app(scope, watch_receive, watch_send)
