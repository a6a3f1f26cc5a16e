"""The ASGI edge: every message passes as it is, and the exchange ends once, at the last byte."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import context, trace
from tests.unit.recording import (
    DURATION,
    START,
    Recording,
    body,
    call_asgi,
    exchange_messages,
    never,
    scope,
    sending,
    swallow,
)


def test_the_messages_pass_as_they_are(recording: Recording) -> None:
    """The server gets the very objects that the application sent."""
    messages = [dict(START), body(b"a", more_body=True), body(b"b")]
    sent = call_asgi(recording.asgi(sending(*messages)))
    assert [id(message) for message in messages] == [id(message) for message in sent]


def test_the_server_s_scope_is_not_changed(recording: Recording) -> None:
    """What the middleware adds to the scope stands in a copy."""
    given = scope()
    before = dict(given)
    call_asgi(recording.asgi(sending(START, body())), given)
    assert before == given


def test_the_context_is_current_in_the_application_only(recording: Recording) -> None:
    """The span is current while the application runs, and gone from the server's task afterwards."""
    seen: list[Any] = []

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)
        await send(START)
        await send(body())

    async def server() -> None:
        await exchange_messages(recording.asgi(app), scope())
        seen.append(bool(context.get_current()))

    asyncio.run(server())
    assert [recording.span.get_span_context().span_id, False] == seen


def test_a_thousand_concurrent_requests_keep_their_own_context() -> None:
    """No request sees another's span, and none leaves anything behind."""
    recording = Recording()
    wrong: list[int] = []

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        mine = trace.get_current_span()
        await send(START)
        for _ in range(3):
            await asyncio.sleep(0)
            if trace.get_current_span() is not mine:
                wrong.append(1)
        await send(body())

    async def server() -> None:
        middleware = recording.asgi(app)
        await asyncio.gather(*(exchange_messages(middleware, scope()) for _ in range(1000)))

    asyncio.run(server())
    traces = {span.context.trace_id for span in recording.spans}
    expected = ([], 1000, 0)
    assert expected == (wrong, len(traces), recording.active)


def test_the_request_ends_with_its_last_byte(recording: Recording) -> None:
    """A background task after the final body message does not count, and the span is ended before it."""
    seen: list[int] = []

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        await send(START)
        await send(body())
        seen.append(len(recording.spans))
        await asyncio.sleep(0.01)

    call_asgi(recording.asgi(app))
    expected = [1]
    assert expected == seen


def test_an_error_in_a_background_task_is_not_the_request_s(recording: Recording) -> None:
    """What is raised after a complete response passes on and is not recorded."""
    with pytest.raises(ValueError, match="later"):
        call_asgi(recording.asgi(sending(START, body(), error=ValueError("later"))))
    assert trace.StatusCode.UNSET is recording.span.status.status_code


def test_the_exception_after_an_error_page_is_recorded(recording: Recording) -> None:
    """Starlette answers 500 first and raises then: the span has both."""
    page = {**START, "status": 500}
    with pytest.raises(ValueError, match="cause"):
        call_asgi(recording.asgi(sending(page, body(), error=ValueError("cause"))))
    seen = recording.attributes
    expected = (500, "ValueError")
    assert expected == (seen["http.response.status_code"], seen["error.type"])


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("messages", [(), (START,), (START, body(more_body=True))], ids=["none", "start", "some"])
def test_exceptions_pass_untouched_and_end_the_span(recording: Recording, error: BaseException, messages: Any) -> None:
    """Whatever leaves the application before the response is complete reaches the server, and the span has it."""

    async def server() -> BaseException | None:
        try:
            await recording.asgi(sending(*messages, error=error))(scope(), never, swallow)
        except BaseException as raised:
            return raised
        return None

    caught = asyncio.run(server())
    span = recording.span
    name = "asyncio.exceptions.CancelledError" if isinstance(error, asyncio.CancelledError) else type(error).__name__
    seen = (caught is error, span.attributes["error.type"], span.status.status_code, recording.active)
    expected = (True, name, trace.StatusCode.ERROR, 0)
    assert expected == seen


def test_a_group_of_exceptions_has_its_own_name(recording: Recording) -> None:
    """An exception group is recorded by its class, like any other exception."""
    from anyio import create_task_group

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        async with create_task_group() as group:
            group.start_soon(sending(error=ValueError("a")), given, receive, send)

    with pytest.raises(Exception) as caught:  # exceptiongroup's class on Python 3.10
        call_asgi(recording.asgi(app))
    expected = type(caught.value).__qualname__
    assert expected == recording.attributes["error.type"].rpartition(".")[2]


def test_a_responsenever_completed_is_an_error(recording: Recording) -> None:
    """An application that returns in the middle of its response is told from one whose client left."""
    call_asgi(recording.asgi(sending(START, body(more_body=True))))
    expected = "incomplete_response"
    assert expected == recording.attributes["error.type"]


def test_a_path_that_is_no_text_is_recorded_all_the_same(recording: Recording) -> None:
    """A lone surrogate, from a server that decodes carelessly, costs no request its span."""
    call_asgi(recording.asgi(sending(START, body())), scope(path="/\udcff", raw_path=None))
    assert "/%3F" == recording.attributes["url.path"]


def test_unknown_scope_types_pass_untouched(recording: Recording) -> None:
    """A scope of a type that nobody knows yet reaches the application itself, with the server's own callables."""
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.extend(arguments)

    arguments = ({"type": "mqtt"}, never, swallow)
    asyncio.run(recording.asgi(app)(*arguments))
    assert list(arguments) == seen


def test_nested_middlewares_count_once_and_the_inner_finds_the_route(recording: Recording) -> None:
    """Of two middlewares the outer records; a route known only in the inner one's scope still names the span."""

    class Route:
        path = "/inner/{x}"

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        given["route"] = Route
        await send(START)
        await send(body())

    async def copying(given: dict[str, Any], receive: Any, send: Any) -> None:
        await recording.asgi(app)(dict(given), receive, send)

    call_asgi(recording.asgi(copying))
    expected = "GET /inner/{x}"
    assert expected == recording.span.name


def test_fastapi_that_traces_itself_is_not_doubled(recording: Recording) -> None:
    """FastAPI's own telemetry stays off for a request that this middleware records."""
    import fastapi

    app = fastapi.FastAPI(telemetry={"tracer_provider": recording.provider, "meter_provider": recording.meters})
    app.get("/")(lambda: "ok")
    call_asgi(recording.asgi(app))
    expected = (1, 1)
    assert expected == (len(recording.spans), len(recording.points(DURATION)))


@pytest.mark.parametrize("private", [True, False], ids=["as-it-is", "without-the-private-name"])
def test_inside_fastapi_each_request_is_counted_once(recording: Recording, private: bool) -> None:
    """As one of FastAPI's middlewares this one takes over after the first request; without the private name FastAPI stays."""
    import fastapi

    app = fastapi.FastAPI(telemetry={"tracer_provider": recording.provider, "meter_provider": recording.meters})
    app.get("/")(lambda: "ok")
    app.add_middleware(
        type(recording.asgi(None)), instruments=lambda: recording.instruments, settings=recording.settings
    )
    if not private:
        app._telemetry = None  # type: ignore[assignment]
    for _ in range(3):
        call_asgi(app)
    makers = [span.instrumentation_scope and span.instrumentation_scope.name for span in recording.spans]
    servers = [maker for maker, span in zip(makers, recording.spans, strict=True) if span.kind is trace.SpanKind.SERVER]
    expected = (["fastapi", "otelfork", "otelfork"] if private else ["fastapi"] * 3, 3)
    assert expected == (servers, sum(point.count for point in recording.points(DURATION)))


def test_inside_fastapi_with_a_lifespan_the_first_request_counts_too(recording: Recording) -> None:
    """Where the server has a lifespan FastAPI's telemetry is off before the first request."""
    import fastapi

    app = fastapi.FastAPI(telemetry={"tracer_provider": recording.provider, "meter_provider": recording.meters})
    app.get("/")(lambda: "ok")
    app.add_middleware(
        type(recording.asgi(None)), instruments=lambda: recording.instruments, settings=recording.settings
    )
    call_asgi(app, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    call_asgi(app)
    scope_ = recording.span.instrumentation_scope
    assert scope_ is not None
    expected = "otelfork"
    assert expected == scope_.name


def test_starlette_s_own_middleware_is_not_doubled(recording: Recording) -> None:
    """Starlette's OpenTelemetry middleware passes a request that this one records."""
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware

    app = OpenTelemetryMiddleware(sending(START, body()), tracer_provider=recording.provider)
    call_asgi(recording.asgi(app))
    assert len(recording.spans) == 1


def test_inside_contrib_s_middleware_there_is_one_server_span(recording: Recording) -> None:
    """Contrib's middleware around this one has the SERVER span; this one adds none."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    app = OpenTelemetryMiddleware(
        recording.asgi(sending(START, body())),
        tracer_provider=recording.provider,
        meter_provider=recording.meters,
        exclude_spans=["receive", "send"],
    )
    call_asgi(app)
    kinds = [span.kind for span in recording.spans]
    expected = [trace.SpanKind.SERVER]
    assert expected == kinds
