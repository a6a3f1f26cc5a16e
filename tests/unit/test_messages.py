"""The messages of one connection: counted, told apart, and passed on as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from tests.unit.recording import (
    DURATION,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    START,
    Recording,
    body,
    call_asgi,
    never,
    scope,
    sending,
)


def test_a_client_that_leaves_is_an_error_without_an_exception(recording: Recording) -> None:
    """An application that gives up after http.disconnect has an error type, but no error status."""

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await receive()

    call_asgi(recording.asgi(app), messages=[{"type": "http.request"}, {"type": "http.disconnect"}])
    span = recording.span
    expected = ("client_disconnect", trace.StatusCode.UNSET)
    assert expected == (span.attributes["error.type"], span.status.status_code)


def test_an_error_of_the_server_s_send_reaches_the_application(recording: Recording) -> None:
    """The server's send raises into the application, which may handle it; the span has it where it was the last."""
    seen: list[str] = []

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await send(START)
        try:
            await send(body())
        except OSError as error:
            seen.append(str(error))

    async def broken(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    asyncio.run(recording.asgi(app)(scope(), never, broken))
    expected = (["gone"], "OSError", 0)
    assert expected == (seen, recording.attributes["error.type"], recording.active)


def test_the_request_s_body_is_counted_as_it_is_received(recording: Recording) -> None:
    """The size of the request is what the application received, chunk by chunk."""

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(START)
        await send(body())

    chunks = [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.request", "body": b"de"}]
    call_asgi(recording.asgi(app), messages=chunks)
    expected = 5
    assert expected == recording.points(REQUEST_SIZE)[0].sum


@pytest.mark.parametrize("data", [bytearray(b"12345678"), memoryview(b"12345678"), memoryview(b"12345678").cast("I")])
def test_any_buffer_is_counted_in_bytes(recording: Recording, data: Any) -> None:
    """A view's length is its elements'; its size is its bytes'."""
    call_asgi(recording.asgi(sending(START, {"type": "http.response.body", "body": data})))
    expected = 8
    assert expected == recording.points(RESPONSE_SIZE)[0].sum


def test_trailers_are_part_of_the_response(recording: Recording) -> None:
    """With trailers announced, the last trailers message ends the response, and not the last body."""
    seen: list[int] = []

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await send({**START, "trailers": True})
        await send(body())
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": True})
        seen.append(len(recording.spans))
        await send({"type": "http.response.trailers", "headers": []})
        seen.append(len(recording.spans))

    call_asgi(recording.asgi(app))
    expected = [0, 1]
    assert expected == seen


def test_pathsend_ends_the_response_with_the_size_of_the_file(recording: Recording, tmp_path: Any) -> None:
    """A file that the server sends by its path counts with its size."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 321)
    call_asgi(recording.asgi(sending(START, {"type": "http.response.pathsend", "path": str(path)})))
    expected = (321, None)
    assert expected == (recording.points(RESPONSE_SIZE)[0].sum, recording.attributes.get("error.type"))


@pytest.mark.parametrize(("more", "size"), [({}, 90), ({"offset": 20}, 80), ({"offset": 20, "count": 5}, 5)])
def test_zerocopysend_counts_what_is_sent_of_the_file(
    recording: Recording, tmp_path: Any, more: dict[str, int], size: int
) -> None:
    """A descriptor that the server sends from counts with offset and count, or from where it stands."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    with path.open("rb", buffering=0) as file:
        file.seek(10)
        message = {"type": "http.response.zerocopysend", "file": file.fileno(), **more}
        call_asgi(recording.asgi(sending(START, message)))
    assert size == recording.points(RESPONSE_SIZE)[0].sum


@pytest.mark.parametrize("kind", ["http.response.early_hint", "http.response.push", "http.response.debug", "x.y"])
def test_other_messages_pass_and_end_nothing(recording: Recording, kind: str) -> None:
    """Early hints, push and what is yet to be invented go through; the response goes on."""
    sent = call_asgi(recording.asgi(sending({"type": kind}, START, body())))
    seen = [message["type"] for message in sent]
    expected = [kind, "http.response.start", "http.response.body"]
    assert expected == seen


MESSAGES = st.lists(
    st.sampled_from(
        [
            START,
            {**START, "status": 503, "trailers": True},
            {"type": "http.response.start"},
            body(b"abc", more_body=True),
            body(b"de"),
            {"type": "http.response.body", "body": None},
            {"type": "http.response.trailers"},
            {"type": "http.response.pathsend", "path": "/no/such/file"},
            {"type": "http.response.zerocopysend", "file": -1, "more_body": True},
            {"type": "http.response.early_hint", "links": []},
            {},
        ]
    ),
    max_size=6,
)


@settings(deadline=None)
@given(messages=MESSAGES, error=st.sampled_from([None, ValueError("x"), SystemExit(2)]), reads=st.integers(0, 2))
def test_the_middleware_is_transparent(messages: list[Any], error: BaseException | None, reads: int) -> None:
    """In any order of messages, what reaches server and application equals the bare application's; it ends once."""
    recording = Recording()

    async def serve(wrap: Callable[[Any], Any]) -> tuple[Any, ...]:
        received: list[Any] = []
        sent: list[Any] = []

        async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
            received.extend([await receive() for _ in range(reads)])
            await sending(*messages, error=error)(given, receive, send)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"} if received else {"type": "http.request", "body": b"r"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        try:
            await wrap(app)(scope(), receive, send)
        except BaseException as raised:
            return received, sent, raised
        return received, sent, None

    assert asyncio.run(serve(lambda app: app)) == asyncio.run(serve(recording.asgi))
    assert (len(recording.spans), recording.active, recording.points(DURATION)[0].count) == (1, 0, 1)


def socket_scope(**changes: Any) -> dict[str, Any]:
    return scope(type="websocket", scheme="ws", method=None, subprotocols=[], **changes)


def connecting(*messages: dict[str, Any], error: BaseException | None = None) -> Callable[..., Any]:
    """A websocket application that takes the connect message, sends these messages, and reads until the end."""

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)
        if error is not None:
            raise error
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return app


CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}
RECEIVED = {"type": "websocket.receive", "text": "hi"}
SENT = {"type": "websocket.send", "text": "ho"}


def websocket_facts(recording: Recording) -> tuple[Any, ...]:
    names = (
        "http.response.status_code",
        "websocket.messages.received",
        "websocket.messages.sent",
        "websocket.close.code",
    )
    return tuple(recording.attributes.get(name) for name in names)


def test_a_websocket_is_one_span_with_counts(recording: Recording) -> None:
    """All messages of a websocket are one span, counted each way, with the close code of who closed first."""
    messages = [CONNECT, RECEIVED, RECEIVED, {"type": "websocket.disconnect", "code": 1001}]
    call_asgi(recording.asgi(connecting(ACCEPT, SENT, SENT, SENT)), socket_scope(), messages)
    expected = (101, 2, 3, 1001)
    assert expected == websocket_facts(recording)


def test_a_websocket_that_the_application_closes(recording: Recording) -> None:
    """The application's close has its code, 1000 where it names none."""
    messages = [CONNECT, {"type": "websocket.disconnect", "code": 1006}]
    call_asgi(recording.asgi(connecting(ACCEPT, {"type": "websocket.close"})), socket_scope(), messages)
    expected = (101, 0, 0, 1000)
    assert expected == websocket_facts(recording)


def test_a_refused_websocket_is_a_403(recording: Recording) -> None:
    """A close before the accept is answered by the server with 403; no close code reaches the wire."""
    call_asgi(recording.asgi(connecting({"type": "websocket.close", "code": 4000})), socket_scope(), [CONNECT])
    expected = (403, 0, 0, None)
    assert expected == websocket_facts(recording)


def test_a_denial_response_has_its_own_status(recording: Recording) -> None:
    """An application that answers the handshake with an HTTP response is recorded with that status."""
    denial = (
        {"type": "websocket.http.response.start", "status": 429, "headers": []},
        {"type": "websocket.http.response.body", "body": b"slow down"},
    )
    call_asgi(recording.asgi(connecting(*denial)), socket_scope(), [CONNECT])
    expected = (429, 0, 0, None)
    assert expected == websocket_facts(recording)


def test_an_exception_in_a_websocket_is_recorded(recording: Recording) -> None:
    """What leaves a websocket application is an error of its span, and passes on."""
    with pytest.raises(ValueError, match="x"):
        call_asgi(recording.asgi(connecting(ACCEPT, error=ValueError("x"))), socket_scope(), [CONNECT])
    expected = ("ValueError", trace.StatusCode.ERROR, 0)
    assert expected == (recording.attributes["error.type"], recording.span.status.status_code, recording.active)


def test_starlette_s_websocket_disconnect_is_no_error(recording: Recording) -> None:
    """The exception by which Starlette says that the client has left passes on and is not an error."""
    from starlette.websockets import WebSocket, WebSocketDisconnect

    async def app(given: Any, receive: Any, send: Any) -> None:
        websocket = WebSocket(given, receive, send)
        await websocket.accept()
        while True:
            await websocket.receive_text()

    with pytest.raises(WebSocketDisconnect):
        call_asgi(recording.asgi(app), socket_scope(), [CONNECT, RECEIVED])
    expected = (101, 1, 0, 1005, None)
    assert expected == (*websocket_facts(recording), recording.attributes.get("error.type"))


def test_a_websocket_says_what_protocol_it_is(recording: Recording) -> None:
    """Name, scheme and method of a websocket are those of its handshake, and the metrics tell it from HTTP."""
    call_asgi(recording.asgi(connecting(ACCEPT)), socket_scope(), [CONNECT])
    seen = recording.attributes
    (point,) = recording.points(DURATION)
    expected = ("GET", "GET", "ws", "websocket", "websocket", [])
    assert expected == (
        recording.span.name,
        seen["http.request.method"],
        seen["url.scheme"],
        seen["network.protocol.name"],
        point.attributes["network.protocol.name"],
        recording.points(RESPONSE_SIZE),
    )


@pytest.mark.parametrize(
    ("messages", "reason"),
    [([{"type": "websocket.disconnect", "code": 1006}], "client_disconnect"), ([], "incomplete_response")],
)
def test_a_websocket_without_an_answer_says_why(recording: Recording, messages: list[Any], reason: str) -> None:
    """A client that left before the handshake was answered, or an application that never answered it, is an error."""

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        for _ in ({"type": "websocket.connect"}, *messages):
            await receive()

    given = scope(type="websocket", method=None, scheme="ws")
    call_asgi(recording.asgi(app), given, [{"type": "websocket.connect"}, *messages])
    seen = recording.attributes
    assert (reason, None, None) == tuple(
        seen.get(name) for name in ("error.type", "http.response.status_code", "websocket.close.code")
    )
