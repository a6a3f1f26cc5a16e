"""Hooks of a middleware inside another one, with the span of the outer one's request (see `request.hooks.lend`)."""

from __future__ import annotations

from collections.abc import Awaitable

from otelfork.asgi.scope import Message, Receive, Scope, Send
from otelfork.request.exchange import Exchange
from otelfork.request.hooks import Hooks, call


def hooked(outer: Exchange, hooks: Hooks, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return `receive` and `send` that call the hooks with the span of an exchange that a middleware further out has begun."""
    on_receive, on_send = hooks.client_request_hook, hooks.client_response_hook

    async def receive_hooked() -> Message:
        message = await receive()
        if on_receive is not None and not outer.ended:
            call("client_request_hook", on_receive, outer.span, scope, message)
        return message

    def send_hooked(message: Message) -> Awaitable[None]:
        if on_send is not None and not outer.ended:
            call("client_response_hook", on_send, outer.span, scope, message)
        return send(message)

    return receive if on_receive is None else receive_hooked, send if on_send is None else send_hooked
