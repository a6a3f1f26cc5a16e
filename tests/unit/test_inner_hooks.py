"""A middleware inside another one: the request is the outer one's, the hooks are called all the same, each of them once."""

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

import fastapi
import flask
from otelfork import OtelMiddleware
from otelfork.servers.applications import wrap
from otelfork.testing import capture

pytestmark = pytest.mark.usefixtures("said_nothing")


class Noting:
    """Hooks of every kind, which note what they are called with and put their name on the span."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[tuple[Any, ...]] = []

    def of(self, *kinds: str) -> dict[str, Any]:
        """Return hooks of these kinds."""
        return {kind: self._hook(kind) for kind in kinds}

    def _hook(self, kind: str) -> Any:
        def hook(span: trace.Span, *arguments: Any) -> None:
            span.set_attribute(f"app.{kind}", self.name)
            self.calls.append((kind, span, trace.get_current_span() is span, *arguments))

        return hook

    @property
    def kinds(self) -> list[str]:
        """The kinds of the hooks that were called."""
        return [call[0] for call in self.calls]


WSGI, ASGI = (
    ("request_hook", "response_hook"),
    ("server_request_hook", "client_request_hook", "client_response_hook"),
)


async def receiving(given: Any, receive: Any, send: Any) -> None:
    """Take a message, send two."""
    await receive()
    await sending(START, body())(given, receive, send)


def test_inner_wsgi_hooks_get_the_outer_span(recording: Recording) -> None:
    """Both are called with the one span, current, and contrib's arguments; what they set on it is exported."""
    noting, given = Noting("inner"), environ()
    call_wsgi(recording.wsgi(recording.wsgi(plain, **noting.of(*WSGI))), given)
    (first, span, current, seen), (second, again, current_too, seen_too, status, headers) = noting.calls
    found = (first, second, span is again, current, current_too, seen is given, seen_too is given, status, headers)
    expected = (*WSGI, True, True, True, True, True, "200 OK", [("Content-Type", "text/plain")])
    assert (expected, "inner") == (found, recording.attributes["app.response_hook"])


def test_inner_asgi_hooks_get_the_outer_span(recording: Recording) -> None:
    """All three are called with the one span, current, for each message; what they set on it is exported."""
    noting = Noting("inner")
    call_asgi(recording.asgi(recording.asgi(receiving, **noting.of(*ASGI))))
    found = [(kind, current, *(each["type"] for each in given)) for kind, _, current, *given in noting.calls]
    expected = [
        ("server_request_hook", True, "http"),
        ("client_request_hook", True, "http", "http.request"),
        ("client_response_hook", True, "http", "http.response.start"),
        ("client_response_hook", True, "http", "http.response.body"),
    ]
    assert (expected, "inner") == (found, recording.attributes["app.client_response_hook"])


def test_inner_hooks_of_a_websocket(recording: Recording) -> None:
    """A websocket's messages reach them, too."""
    noting = Noting("inner")

    async def app(given: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    connect = {"type": "websocket.connect"}
    inner = recording.asgi(app, **noting.of(*ASGI))
    call_asgi(recording.asgi(inner), scope(type="websocket", method=None), [connect])
    expected = ["server_request_hook", "client_request_hook", "client_response_hook", "client_response_hook"]
    assert expected == noting.kinds


def test_the_same_hooks_at_three_middlewares_are_called_once(recording: Recording) -> None:
    """Hooks that a user gives to each of his middlewares are not doubled, with a bare one around them or without."""
    noting = Noting("same")
    same, same_asgi = noting.of(*WSGI), noting.of(*ASGI)
    call_wsgi(recording.wsgi(recording.wsgi(recording.wsgi(plain, **same), **same)))
    call_wsgi(recording.wsgi(recording.wsgi(plain, **same), **same))
    call_asgi(recording.asgi(recording.asgi(recording.asgi(sending_plain, **same_asgi), **same_asgi)))
    call_asgi(recording.asgi(recording.asgi(sending_plain, **same_asgi), **same_asgi))
    asgi = ["server_request_hook", "client_response_hook", "client_response_hook"]
    assert [*WSGI, *WSGI, *asgi, *asgi] == noting.kinds


def test_a_hook_is_that_of_the_outermost_middleware_that_has_it(recording: Recording) -> None:
    """An outer hook stands; a kind that the outer one has not comes from the inner one."""
    outer, inner = Noting("outer"), Noting("inner")
    call_wsgi(recording.wsgi(recording.wsgi(plain, **inner.of(*WSGI)), **outer.of("request_hook")))
    call_asgi(recording.asgi(recording.asgi(receiving, **inner.of(*ASGI)), **outer.of("client_response_hook")))
    expected = (
        ["request_hook", "client_response_hook", "client_response_hook"],
        ["response_hook", "server_request_hook", "client_request_hook"],
    )
    assert expected == (outer.kinds, inner.kinds)


def test_an_inner_response_hook_may_add_headers_and_sees_each_start(recording: Recording) -> None:
    """Its list of headers is the one that goes out, and a second start with exc_info reaches the server with it."""

    def app(given: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError("late")
        except ValueError as error:
            start_response("500 Oops", [], (type(error), error, None))
        return [b"x"]

    def hook(span: Any, given: Any, status: str, headers: list[tuple[str, str]]) -> None:
        headers.append(("X-Status", status))

    answer = call_wsgi(recording.wsgi(recording.wsgi(app, response_hook=hook)))
    found = (answer.status, answer.headers, answer.starts, recording.attributes["error.type"])
    assert ("500 Oops", [("X-Status", "500 Oops")], 2, "ValueError") == found


def test_an_inner_hook_that_raises_harms_nothing(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    """Each failing hook is one line; requests are answered and recorded."""

    def broken(*arguments: Any) -> None:
        raise ValueError("mine")

    with caplog.at_level(logging.ERROR, logger="otelfork"):
        answer = call_wsgi(recording.wsgi(recording.wsgi(plain, **dict.fromkeys(WSGI, broken))))
        sent = call_asgi(recording.asgi(recording.asgi(receiving, **dict.fromkeys(ASGI, broken))))
    said = [f"the hook {kind} failed; the request goes on" for kind in (*WSGI, *ASGI)]
    assert ("200 OK", 2, 2, said) == (answer.status, len(sent), len(recording.spans), caplog.messages)


def test_without_a_request_around_it_no_hook_is_called(recording: Recording) -> None:
    """A request that nobody records has no span to call hooks with."""
    noting = Noting("inner")
    excluding = Recording(excluded_urls=".")
    call_wsgi(excluding.wsgi(plain, **noting.of(*WSGI)))
    call_asgi(excluding.asgi(sending_plain, **noting.of(*ASGI)))
    assert [] == noting.calls


def test_flask_s_hooks_are_called_where_the_server_s_application_was_wrapped() -> None:
    """What zero code and GunicornInstrumentor do: Flask's `wsgi_app` keeps its hooks, the request stays one span."""
    app, noting = flask.Flask("shop"), Noting("mine")
    app.add_url_rule("/<item>", view_func=lambda item: item, endpoint="item")
    with capture() as telemetry:
        app.wsgi_app = OtelMiddleware(app.wsgi_app, **noting.of(*WSGI))  # type: ignore[method-assign]
        call_wsgi(wrap(app), environ(PATH_INFO="/7"))
    (span,) = telemetry.spans
    attributes = dict(span.attributes or {})
    found = (span.name, attributes["app.request_hook"], attributes["app.response_hook"], noting.kinds)
    assert ("GET /<item>", "mine", "mine", list(WSGI)) == found


def test_fastapi_s_hooks_are_called_where_the_server_s_application_was_wrapped() -> None:
    """The same with FastAPI's `add_middleware`."""
    app, noting = fastapi.FastAPI(), Noting("mine")

    @app.get("/{item}")
    def item(item: str) -> str:
        return item

    with capture() as telemetry:
        app.add_middleware(OtelMiddleware, **noting.of(*ASGI))
        call_asgi(wrap(app), scope(path="/7", raw_path=b"/7"))
    (span,) = telemetry.spans
    attributes = dict(span.attributes or {})
    found = (span.name, attributes["app.server_request_hook"], attributes["app.client_response_hook"])
    assert ("GET /{item}", "mine", "mine") == found
