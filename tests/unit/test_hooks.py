"""The user's hooks: called with contrib's arguments, and unable to harm a request."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry import trace
from tests.unit.recording import (
    START,
    Recording,
    body,
    call_asgi,
    call_wsgi,
    environ,
    plain,
    scope,
    sending,
    sending_plain,
)

pytestmark = pytest.mark.usefixtures("said_nothing")


def test_the_wsgi_hooks_have_contrib_s_arguments(recording: Recording) -> None:
    """request_hook(span, environ) at the begin, response_hook(span, environ, status, headers) at start_response."""
    seen: list[Any] = []
    given = environ()
    app = recording.wsgi(plain, request_hook=lambda *a: seen.append(a), response_hook=lambda *a: seen.append(a))
    call_wsgi(app, given)
    (span, first), (again, second, status, headers) = seen
    found = (span is again, span.name, first is given, second is given, status, headers)
    expected = (True, "GET", True, True, "200 OK", [("Content-Type", "text/plain")])
    assert expected == found


def test_a_response_hook_may_add_headers(recording: Recording) -> None:
    """What a hook appends to the list of headers reaches the server, as with contrib's middleware."""
    answer = call_wsgi(
        recording.wsgi(plain, response_hook=lambda span, environ, status, headers: headers.append(("X", "1")))
    )
    assert ("X", "1") in answer.headers


def test_the_asgi_hooks_have_contrib_s_arguments(recording: Recording) -> None:
    """server_request_hook(span, scope), and the two client hooks with (span, scope, message) for each message."""
    seen: list[Any] = []

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await sending_plain(given, receive, send)

    call_asgi(
        recording.asgi(
            app,
            server_request_hook=lambda span, scope: seen.append((span.name, scope["type"])),
            client_request_hook=lambda span, scope, message: seen.append((span.name, scope["type"], message["type"])),
            client_response_hook=lambda span, scope, message: seen.append((span.name, scope["type"], message["type"])),
        )
    )
    expected = [
        ("GET", "http"),
        ("GET", "http", "http.request"),
        ("GET", "http", "http.response.start"),
        ("GET", "http", "http.response.body"),
    ]
    assert expected == seen


def test_in_each_hook_the_request_s_span_is_current(recording: Recording) -> None:
    """A hook may ask for the current span, or add baggage-like facts of it, as with contrib's middlewares."""
    seen: list[bool] = []

    def hook(span: trace.Span, *_: Any) -> None:
        seen.append(trace.get_current_span() is span)

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await sending(START, body())(given, receive, send)

    call_wsgi(recording.wsgi(plain, request_hook=hook, response_hook=hook))
    call_asgi(recording.asgi(app, server_request_hook=hook, client_request_hook=hook, client_response_hook=hook))
    assert ([True] * 6, trace.INVALID_SPAN) == (seen, trace.get_current_span())


def test_default_span_details_name_the_span(recording: Recording) -> None:
    """A name and attributes given by the user stand, also where a route is known."""

    class Route:
        path = "/x"

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        given["route"] = Route
        await sending_plain(given, receive, send)

    call_asgi(
        recording.asgi(app, default_span_details=lambda scope: (f"my {scope['path']}", {"mine": 1})), scope(path="/x")
    )
    expected = ("my /x", 1, "/x")
    assert expected == (recording.span.name, recording.attributes["mine"], recording.attributes["http.route"])


def test_a_name_that_the_application_gave_its_span_is_kept(recording: Recording) -> None:
    """A span renamed by a hook or by the application keeps that name; the route is an attribute all the same."""

    class Route:
        path = "/x"

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        given["route"] = Route
        await sending_plain(given, receive, send)

    call_asgi(recording.asgi(app, server_request_hook=lambda span, scope: span.update_name("mine")))
    expected = ("mine", "/x")
    assert expected == (recording.span.name, recording.attributes["http.route"])


HOOKS = ["request_hook", "response_hook", "server_request_hook", "client_request_hook", "client_response_hook",
         "default_span_details"]  # fmt: skip


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_raises_is_logged_once_and_the_request_goes_on(
    recording: Recording, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two requests with a failing hook are answered and recorded, and one line says which hook failed."""

    def broken(*arguments: Any) -> Any:
        raise ValueError("mine")

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await sending(START, body())(given, receive, send)

    with caplog.at_level(logging.ERROR, logger="otelfork"):
        for _ in range(2):
            call_wsgi(recording.wsgi(plain, **{name: broken}))
            call_asgi(recording.asgi(app, **{name: broken}))
    assert (4, [f"the hook {name} failed; the request goes on"]) == (len(recording.spans), caplog.messages)


@pytest.mark.parametrize("details", [None, 1, (), ("a",), ("a", None), (1, {}), ("a", {"b": object()})])
def test_details_that_make_no_sense_harm_nothing(recording: Recording, details: Any) -> None:
    """Whatever default_span_details returns, the request is answered."""
    sent = call_asgi(recording.asgi(sending_plain, default_span_details=lambda scope: details))
    expected = 2
    assert expected == len(sent)


TRACED = [("traceresponse", {"traceresponse": True}), ("server-timing", {"server_timing": True}),
          ("otel-trace-id", {"trace_id_header": "otel-trace-id"})]  # fmt: skip


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(("header", "setting"), TRACED)
def test_response_headers_by_setting(interface: str, header: str, setting: dict[str, Any]) -> None:
    """Each of the three headers names the trace of this request, and the application's own headers stay."""
    recording = Recording(**setting)
    if interface == "wsgi":
        headers = call_wsgi(recording.wsgi(plain)).headers
    else:
        start = call_asgi(recording.asgi(sending_plain))[0]
        headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
    context = recording.span.get_span_context()
    trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    parent = f"00-{trace_id}-{span_id}-{context.trace_flags:02x}"
    value = {"traceresponse": parent, "server-timing": f'traceparent;desc="{parent}"', "otel-trace-id": trace_id}[
        header
    ]
    expected = ["text/plain", value]
    assert expected == [value for _, value in headers]


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_header_that_the_application_sends_is_not_doubled(interface: str) -> None:
    """An application that names its trace itself keeps its own word."""
    recording = Recording(trace_id_header="Content-Type")
    if interface == "wsgi":
        count = len(call_wsgi(recording.wsgi(plain)).headers)
    else:
        count = len(call_asgi(recording.asgi(sending_plain))[0]["headers"])
    expected = 1
    assert expected == count
