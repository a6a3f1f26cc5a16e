"""The messages of one ASGI connection, seen on their way and passed on as they are."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any, cast, final

from otelfork import semconv
from otelfork.asgi.scope import Message, Receive, Scope, Send, decoded
from otelfork.request.answers import added
from otelfork.request.exchange import Exchange, General
from otelfork.request.hooks import Hooks, call, once
from otelfork.request.rest import DISCONNECT, INCOMPLETE
from otelfork.request.routes import DJANGO


class _Messages(Exchange):
    """One connection's exchange, which is also its `receive` and `send`: what http and websocket share.

    Attributes:
        scope: the application's.
        server_receive, server_send: the server's.
        lent: see `request.hooks.Hooked`.
        disconnected: whether the application was told that the client has left.
    """

    __slots__ = ("disconnected", "lent", "scope", "server_receive", "server_send")

    scope: Scope
    server_receive: Receive
    server_send: Send
    lent: Hooks
    receive: Callable[[], Awaitable[Message]]
    send: Callable[[Message], Awaitable[None]]

    async def receive_hooked(self) -> Message:
        """Receive a message, and show it to the user."""
        message = await self.receive()
        self._call_request_hook(message)
        return message

    def send_hooked(self, message: Message) -> Awaitable[None]:
        """Show a message of the application to the user, and send it."""
        if not self.ended:
            self._call_response_hook(message)
        return self.send(message)

    def _call_request_hook(self, message: Message) -> None:
        hook = self.hooks.client_request_hook
        if hook is not None:
            call("client_request_hook", hook, self.span, self.scope, message)

    def _respond(self, message: Message) -> Message:
        """Note the start of a response, and return the message with our headers added where that is wanted."""
        status = message.get("status")
        plan = self._plan
        settings = plan.settings
        code = int(status) if isinstance(status, int) else None
        if settings.response_headers is None and not plan.answers:
            self.respond(code, ())
            return message
        headers = message.get("headers") or ()
        if not isinstance(headers, list | tuple):
            headers = list(headers)  # an iterable may be read once only
            message = {**message, "headers": headers}
        self.respond(code, decoded(headers))
        if not plan.answers:
            return message
        present = {bytes(name).lower() for name, _ in headers}
        return {**message, "headers": [*headers, *(pair for pair in self._added() if pair[0].lower() not in present)]}

    def _added(self) -> list[tuple[bytes, bytes]]:
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in added(self.span, self.settings)]

    def _call_response_hook(self, message: Message) -> None:
        hook = self.hooks.client_response_hook
        if hook is not None:
            call("client_response_hook", hook, self.span, self.scope, message)


_begin = Exchange.__init__  # a name less to look up in a class


@final
class HttpMessages(_Messages):
    """One HTTP request and its response."""

    __slots__ = ("_complete", "_trailers")

    def __init__(  # noqa: PLR0917 - see `Exchange`
        self, plan: Any, kind: Any, sketch: Any, carrier: Any, sender: bytes | None, general: General | None
    ) -> None:
        self.disconnected = self._trailers = self._complete = False
        self.scope = carrier
        _begin(self, plan, kind, sketch, carrier, sender, general)

    async def receive(self) -> Message:
        """Receive a message of the server for the application."""
        receive = self.server_receive  # read first and called then: in one step it would be looked for as a method
        message = await receive()
        try:
            kind = message["type"]
            if kind == "http.request":
                body = message.get("body")
                if body:
                    self.received += len(body)
            elif kind == "http.disconnect":
                self.disconnected = True
        except Exception:
            once("a received message could not be recorded", "asgi.receive")
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application: note it, and return what the server's `send` returns."""
        send = self.server_send
        if self._complete:
            return send(message)
        try:
            kind = message["type"]
            if kind == "http.response.body":
                body = message.get("body")
                if body:
                    self.sent += body.nbytes if type(body) is memoryview else len(body)
                final = not message.get("more_body") and not self._trailers
            elif kind == "http.response.start":
                final = False
                status = message.get("status")
                if type(status) is int and self._plan.plain_responses and "trailers" not in message:
                    self.status = status
                    if self.route is None and DJANGO in self.scope:
                        self.route = self._plan.find_route(self.carriers, status)
                else:
                    message = self._start(message)
            else:
                final = self._rare(kind, message)
        except Exception:
            once("a sent message could not be recorded", "asgi.send")
            return send(message)
        if final:
            self._complete = True
            return self._last(send(message))
        return send(message)

    def _start(self, message: Message) -> Message:
        self._trailers = bool(message.get("trailers"))
        return self._respond(message)

    async def _last(self, sending: Awaitable[None]) -> None:
        """Await the last message of the response: with its last byte handed over the request is over."""
        try:
            await sending
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self.finished_at = perf_counter_ns()
            # After a server error the exception itself is still to come (Starlette answers first and raises then).
            if self.status is None or self.status < 500:
                self.end()

    def _rare(self, kind: str, message: Message) -> bool:
        """Note a message of an extension; return whether it is the last one."""
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        if kind == "http.response.pathsend":
            self.sent += os.stat(message["path"]).st_size  # noqa: PTH116 the server opens it next, by this name
            return not self._trailers
        if kind == "http.response.zerocopysend":
            self.sent += _file_length(message)
            return not message.get("more_body") and not self._trailers
        return False  # early hints, push and what is yet to come

    def leave(self) -> None:
        """End the exchange as the application is done."""
        if self.ended:
            return
        if not self._complete:
            self._complete = True
            self.cut(DISCONNECT if self.disconnected else INCOMPLETE)
        self.end()


@final
class WebsocketMessages(_Messages):
    """One websocket: a single span with counts of its messages, none for each message."""

    __slots__ = ("_accepted", "_close_code", "_denied", "_over", "_received_count", "_sent_count")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.scope = cast("Scope", self.carriers[0])
        self.disconnected = False
        self._accepted = False
        self._denied = False
        self._over = False
        self._close_code: int | None = None
        self._received_count = 0
        self._sent_count = 0

    async def receive(self) -> Message:
        """Receive a message of the server for the application."""
        message = await self.server_receive()
        try:
            self._received(message)
        except Exception:
            once("a received message could not be recorded", "asgi.receive")
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application: note it, and return what the server's `send` returns."""
        try:
            message = self._sent(message)
        except Exception:
            once("a sent message could not be recorded", "asgi.send")
        return self.server_send(message)

    def _sent(self, message: Message) -> Message:
        kind = message["type"]
        if kind == "websocket.send":
            self._sent_count += 1
        elif kind == "websocket.accept":
            self._accepted = True
            # Over HTTP/2 and 3 the extended CONNECT is answered like any other request (RFC 8441, section 5).
            self.respond(200 if self.scope.get("http_version", "1.1") >= "2" else 101, ())
            if self._plan.answers:
                return self._answered(message)
        elif kind == "websocket.close":
            if not self._accepted and not self._denied:
                self.respond(403, ())
            self._close(message.get("code", 1000))
        elif kind == "websocket.http.response.start":
            self._denied = True
            return self._respond(message)
        elif kind == "websocket.http.response.body" and not message.get("more_body"):
            self._over = True
            self.finish()
        return message

    def _answered(self, message: Message) -> Message:
        return {**message, "headers": [*(message.get("headers") or ()), *self._added()]}

    def _received(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.receive":
            self._received_count += 1
        elif kind == "websocket.disconnect":
            self.disconnected = True
            self._close(message.get("code", 1005))

    def _close(self, code: Any) -> None:
        if not self._over:
            self._over = True
            self._close_code = code if isinstance(code, int) else 1005
            self.finish()

    def fail(self, error: BaseException) -> None:
        """Record what leaves the application; a framework's word for "the client has left" is no error."""
        if self.disconnected and type(error).__name__ == "WebSocketDisconnect":
            return
        super().fail(error)

    def leave(self) -> None:
        """End the exchange as the application is done."""
        if self.ended:
            return
        found: dict[str, int] = {
            semconv.WEBSOCKET_MESSAGES_RECEIVED: self._received_count,
            semconv.WEBSOCKET_MESSAGES_SENT: self._sent_count,
        }
        if self._close_code is not None and self._accepted:
            found[semconv.WEBSOCKET_CLOSE_CODE] = self._close_code
        self.note(found)
        if self.status is None:  # neither accepted, nor refused, nor denied
            self.cut(DISCONNECT if self.disconnected else INCOMPLETE)
        self.end()


def _file_length(message: Message) -> int:
    count = message.get("count")
    if count is not None:
        return int(count)
    file = message["file"]
    descriptor = file if isinstance(file, int) else file.fileno()
    offset = message.get("offset")
    size = os.fstat(descriptor).st_size
    return max(0, size - (offset if offset is not None else os.lseek(descriptor, 0, os.SEEK_CUR)))
