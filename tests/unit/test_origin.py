"""What stands around a request: whose span and figures it has already, sampled or not, and whose it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribASGI
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as ContribWSGI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind
from tests.unit.recording import call_asgi, call_wsgi, environ, plain, scope, sending_plain

from otelfork import OtelMiddleware, bootstrap, forks
from otelfork.request import origin
from otelfork.request.facts import Request
from otelfork.testing import capture

UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
SAMPLED = UNSAMPLED[:-1] + "1"


class World:
    """Providers, whoever made them, and what they got."""

    def __init__(self, arguments: Mapping[str, Any], spans: Callable[[], Any], metrics: Callable[[], Any]) -> None:
        self.arguments = arguments
        self._spans = spans
        self._metrics = metrics

    @property
    def figures(self) -> tuple[int, int]:
        """Return the number of SERVER spans, and of measured durations, whatever their names."""
        names = {"http.server.request.duration", "http.server.duration"}
        points = [p for metric in self._metrics() if metric.name in names for p in metric.data.data_points]
        return sum(s.kind is SpanKind.SERVER for s in self._spans()), sum(point.count for point in points)


@contextmanager
def ours(sampler: Any) -> Iterator[World]:
    """The providers of this package, in the global seat."""
    with capture(sampler=lambda: sampler) as telemetry:
        yield World({}, lambda: telemetry.spans, lambda: telemetry.metrics().values())


@contextmanager
def theirs(sampler: Any) -> Iterator[World]:
    """Providers of the user's own, which return plain non-recording spans."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(sampler, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], shutdown_on_exit=False)

    arguments = {"tracer_provider": tracers, "meter_provider": meters}
    yield World(arguments, exporter.get_finished_spans, lambda: measured(reader))


def measured(reader: InMemoryMetricReader) -> list[Any]:
    """Collect all metrics."""
    data = reader.get_metrics_data()
    resources = data.resource_metrics if data else ()
    return [metric for resource in resources for inner in resource.scope_metrics for metric in inner.metrics]


def serve_wsgi(app: Any, traceparent: str, path: str = "/x") -> None:
    """Make one WSGI request."""
    call_wsgi(app, environ(PATH_INFO=path, HTTP_TRACEPARENT=traceparent or None))


def serve_asgi(app: Any, traceparent: str, path: str = "/x") -> None:
    """Make one ASGI request."""
    headers = [(b"host", b"shop"), *([(b"traceparent", traceparent.encode())] if traceparent else [])]
    call_asgi(app, scope(path=path, raw_path=None, headers=headers))


def spanning_wsgi(app: Any, tracer: trace.Tracer) -> Any:
    """A WSGI middleware that has a span of its own around the rest."""

    def middleware(given: Any, start_response: Any) -> Any:
        with tracer.start_as_current_span("own"):
            return app(given, start_response)

    return middleware


def spanning_asgi(app: Any, tracer: trace.Tracer) -> Any:
    """An ASGI middleware that has a span of its own around the rest."""

    async def middleware(given: Any, receive: Any, send: Any) -> None:
        with tracer.start_as_current_span("own"):
            await app(given, receive, send)

    return middleware


INTERFACES = {
    "wsgi": (ContribWSGI, plain, serve_wsgi, spanning_wsgi),
    "asgi": (ContribASGI, sending_plain, serve_asgi, spanning_asgi),
}
interfaces = pytest.mark.parametrize("interface", INTERFACES)
worlds = pytest.mark.parametrize("world", [ours, theirs])


@pytest.mark.parametrize("between", [False, True], ids=["directly", "around a span"])
@pytest.mark.parametrize(
    ("sampler", "traceparent", "spans"),
    [
        (ALWAYS_OFF, "", 0),
        (ParentBased(ALWAYS_ON), UNSAMPLED, 0),
        (ParentBased(ALWAYS_ON), SAMPLED, 1),
        (ALWAYS_ON, "", 1),
    ],
    ids=["unsampled root", "unsampled parent", "sampled parent", "sampled root"],
)
@worlds
@interfaces
def test_a_request_that_contrib_serves_is_counted_once(
    interface: str, world: Any, sampler: Any, traceparent: str, spans: int, between: bool
) -> None:
    """Around ours, contrib's middleware has the request's span, or decided that there is none, and measures it alone."""
    contrib, app, serve, spanning = INTERFACES[interface]
    with world(sampler) as made:
        inner = OtelMiddleware(app, **made.arguments)
        if between:
            provider = made.arguments.get("tracer_provider") or trace.get_tracer_provider()
            inner = spanning(inner, provider.get_tracer("application"))
        serve(contrib(inner, **made.arguments), traceparent)
        figures = made.figures
    assert (spans, 1) == figures


@worlds
@interfaces
def test_an_unsampled_span_of_the_application_hides_no_request(interface: str, world: Any) -> None:
    """A span that an application has around a call of another one is nobody's SERVER span: the request is measured."""
    _, app, serve, spanning = INTERFACES[interface]
    with world(ALWAYS_OFF) as made:
        provider = made.arguments.get("tracer_provider") or trace.get_tracer_provider()
        serve(spanning(OtelMiddleware(app, **made.arguments), provider.get_tracer("application")), "")
        figures = made.figures
    assert (0, 1) == figures


@worlds
@interfaces
def test_an_unsampled_remote_parent_hides_no_request(interface: str, world: Any) -> None:
    """A parent that was attached from the headers by somebody in between is the sender's: the request is measured."""
    _, app, serve, _ = INTERFACES[interface]
    remote = trace.SpanContext(int(UNSAMPLED[3:35], 16), int(UNSAMPLED[36:52], 16), is_remote=True)
    with world(ParentBased(ALWAYS_ON)) as made:
        token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(remote)))
        try:
            serve(OtelMiddleware(app, **made.arguments), UNSAMPLED)
        finally:
            context.detach(token)
        figures = made.figures
    assert (0, 1) == figures


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON], ids=["unsampled", "sampled"])
@worlds
def test_a_request_made_inside_another_one_is_its_own(world: Any, sampler: Any) -> None:
    """An application that contrib serves calls another one in-process: that is another request, counted by itself."""
    with world(sampler) as made:
        inner = OtelMiddleware(plain, **made.arguments)

        def outer(given: Any, start_response: Any) -> Any:
            call_wsgi(inner, environ(PATH_INFO="/other"))
            return plain(given, start_response)

        serve_wsgi(ContribWSGI(outer, **made.arguments), "")
        figures = made.figures
    assert (0 if sampler is ALWAYS_OFF else 2, 2) == figures


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON], ids=["unsampled", "sampled"])
def test_the_mark_of_an_outer_span_reaches_other_tasks(sampler: Any) -> None:
    """A middleware in between that goes on in a task of its own does not part the two."""

    async def tasking(given: Any, receive: Any, send: Any) -> None:
        await asyncio.create_task(inner(given, receive, send))

    with ours(sampler) as made:
        inner = OtelMiddleware(sending_plain)
        serve_asgi(ContribASGI(tasking), "")
        figures = made.figures
    assert (0 if sampler is ALWAYS_OFF else 1, 1) == figures


@contextmanager
def lane(sampler: Any) -> Iterator[World]:
    """The providers of this package with its own request lane, which takes no processor of a test's."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    with bootstrap.replaced():
        bootstrap.configure(
            exporters={"traces": [lambda: exporter], "metrics": [], "logs": []},
            metric_readers=[lambda: reader],
            sampler=lambda: sampler,
        )

        def spans() -> Any:
            forks.flush(5)
            return exporter.get_finished_spans()

        yield World({}, spans, lambda: measured(reader))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:starlette.middleware.wsgi is deprecated")
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON], ids=["unsampled", "sampled"])
@pytest.mark.parametrize("world", [ours, theirs, lane])
def test_ours_around_ours_through_an_adapter_counts_once(world: Any, sampler: Any) -> None:
    """A WSGI application mounted in an ASGI one gets an environ that was made anew, in another thread: one request."""
    from starlette.applications import Starlette
    from starlette.middleware.wsgi import WSGIMiddleware
    from starlette.routing import Mount

    with world(sampler) as made:
        inner = OtelMiddleware(plain, **made.arguments)
        app = OtelMiddleware(Starlette(routes=[Mount("/v1", app=WSGIMiddleware(inner))]), **made.arguments)
        serve_asgi(app, "", "/v1/x")
        figures = made.figures
    assert (0 if sampler is ALWAYS_OFF else 1, 1) == figures


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON], ids=["unsampled", "sampled"])
@worlds
@interfaces
def test_a_context_that_an_ended_request_left_hides_no_request(interface: str, world: Any, sampler: Any) -> None:
    """uvicorn starts a pipelined request in the context of the one before: the same path again is another request."""
    left: list[Any] = []

    def remember(given: Any, start_response: Any) -> Any:
        left.append(context.get_current())
        return plain(given, start_response)

    async def remembering(given: Any, receive: Any, send: Any) -> None:
        left.append(context.get_current())
        await sending_plain(given, receive, send)

    _, _, serve, _ = INTERFACES[interface]
    with world(sampler) as made:
        app = OtelMiddleware({"wsgi": remember, "asgi": remembering}[interface], **made.arguments)
        serve(app, "")
        token = context.attach(left[0])
        try:
            serve(app, "")
        finally:
            context.detach(token)
        figures = made.figures
    assert (0 if sampler is ALWAYS_OFF else 2, 2) == figures


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON], ids=["unsampled", "sampled"])
@worlds
def test_a_websocket_that_contrib_serves_has_one_span(world: Any, sampler: Any) -> None:
    """Contrib's span of a websocket names no method; it is the request's span all the same, and contrib measures none."""

    async def app(given: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    with world(sampler) as made:
        given = scope(type="websocket", method=None, scheme="ws")
        call_asgi(ContribASGI(OtelMiddleware(app, **made.arguments), **made.arguments), given, ())
        figures = made.figures
    assert (0 if sampler is ALWAYS_OFF else 1, 0) == figures


@interfaces
def test_a_path_that_contrib_decodes_is_the_same_path(interface: str) -> None:
    """Contrib records the path decoded, ours as sent: one request."""
    contrib, app, _, _ = INTERFACES[interface]
    with theirs(ALWAYS_ON) as made:
        both = contrib(OtelMiddleware(app, **made.arguments), **made.arguments)
        if interface == "wsgi":
            call_wsgi(both, environ(PATH_INFO="/caf\xc3\xa9", RAW_URI="/caf%C3%A9"))
        else:
            call_asgi(both, scope(path="/café", raw_path=b"/caf%C3%A9"))
        figures = made.figures
    assert (1, 1) == figures


def test_what_contrib_leaves_out_is_recorded() -> None:
    """A URL that is excluded in contrib's middleware only is on its stack and not in its figures."""
    with theirs(ALWAYS_ON) as made:
        serve_asgi(
            ContribASGI(OtelMiddleware(sending_plain, **made.arguments), excluded_urls="x", **made.arguments), ""
        )
        figures = made.figures
    assert (1, 1) == figures


@pytest.mark.parametrize("suppress", [suppress_instrumentation, suppress_http_instrumentation])
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON], ids=["unsampled", "sampled"])
@worlds
@interfaces
def test_under_suppression_nothing_is_added_to_contrib(interface: str, world: Any, sampler: Any, suppress: Any) -> None:
    """With the API's keys contrib's WSGI middleware records all the same, its ASGI one does not; ours adds nothing."""
    contrib, app, serve, _ = INTERFACES[interface]
    with world(sampler) as made:
        alone, both = contrib(app, **made.arguments), contrib(OtelMiddleware(app, **made.arguments), **made.arguments)
        with suppress():
            serve(alone, "")
            expected = made.figures
            serve(both, "")
        figures = made.figures
    assert tuple(2 * each for each in expected) == figures


def starlette_around(app: Any, made: World) -> Any:
    """Starlette's own middleware around another application."""
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware

    return OpenTelemetryMiddleware(app, **made.arguments)


def fastapi_around(app: Any, made: World) -> Any:
    """A FastAPI application that traces itself, with another one mounted."""
    import fastapi

    outer = fastapi.FastAPI(telemetry={**made.arguments}) if made.arguments else fastapi.FastAPI()
    outer.mount("/", app)
    return outer


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ALWAYS_ON], ids=["unsampled", "sampled"])
@pytest.mark.parametrize("around", [starlette_around, fastapi_around])
@worlds
def test_nothing_is_added_to_a_framework_s_own_telemetry_around(world: Any, around: Any, sampler: Any) -> None:
    """FastAPI and Starlette tell in the scope that they have the request, sampled or not: theirs is all there is."""
    with world(sampler) as made:
        serve_asgi(around(sending_plain, made), "")
        alone = made.figures
        serve_asgi(around(OtelMiddleware(sending_plain, **made.arguments), made), "")
        both = made.figures
    assert (1 if sampler is ALWAYS_ON else 0, tuple(2 * each for each in alone)) == (alone[0], both)


def test_a_request_around_it_without_its_mark_is_another_one() -> None:
    """Somebody in between has emptied the environ: nothing is told of that request, and this one is recorded."""
    request = Request("GET", "http", "/", "", "1.1", "", "", "", None, "", None, None)
    for carriers in ([{}], [{origin.MARK: None}], []):
        token = context.attach(Context({origin.RECORDED: carriers}))
        try:
            assert not origin.traced_outside(request, {}, lambda _: "/")
        finally:
            context.detach(token)
