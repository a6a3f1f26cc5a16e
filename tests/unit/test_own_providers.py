"""Laws of a user's own SDK providers: what their processors, exporters and readers get is what public names alone give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
    sampling,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.recording import (
    ACTIVE,
    DURATION,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    call_asgi,
    call_wsgi,
    environ,
    plain,
    scope,
)

from otelfork import OtelMiddleware
from otelfork.lane import RequestSpan

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
METRICS = (ACTIVE, DURATION, REQUEST_SIZE, RESPONSE_SIZE)


class Noting(SpanProcessor):
    """Notes how it is called: the method, the type of what it gets, and what can be read then."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        parent = trace.get_current_span(parent_context).get_span_context()
        self.calls.append(("start", isinstance(span, Span), shape(span), parent.span_id))
        span.set_attribute("added", "at the start")

    def _on_ending(self, span: Any) -> None:
        span.set_attribute("ending", True)
        self.calls.append(("ending", isinstance(span, Span), shape(span)))

    def on_end(self, span: Any) -> None:
        self.calls.append(("end", type(span), shape(span)))


class Adding(SpanProcessor):
    """Adds an attribute at the start, and has nothing to do with the rest."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        span.set_attribute("tenant", "a")


def shape(span: Any) -> Any:
    """Return all of a span but its ids and times."""
    events = [(event.name, dict(event.attributes or {})) for event in span.events]
    for _, found in events:
        found.pop("exception.stacktrace", None)
    links = [(link.context, dict(link.attributes or {})) for link in span.links]
    dropped = (span.dropped_attributes, span.dropped_events, span.dropped_links)
    seen = (
        span.name,
        span.kind,
        list((span.attributes or {}).items()),
        span.status.status_code,
        span.status.description,
    )
    ids = (span.context.trace_flags, span.context.trace_state, span.context.is_remote, span.parent)
    return (
        seen,
        events,
        links,
        dropped,
        ids,
        span.resource.attributes,
        span.instrumentation_scope,
        span.end_time is None,
    )


def busy(given: Any, start_response: Any) -> list[bytes]:
    """Do with the current span what applications do."""
    span = trace.get_current_span()
    span.set_attribute("late", 1)
    span.add_event("event", {"key": "value"})
    span.add_link(trace.SpanContext(1, 2, is_remote=True), {"key": "value"})
    span.update_name("named")
    return plain(given, start_response)


def failing(given: Any, start_response: Any) -> list[bytes]:
    """Answer with an error that the application describes."""
    trace.get_current_span().set_status(trace.StatusCode.ERROR, "why")
    start_response("503 Unavailable", [("content-length", "2")])
    return [b"no"]


def raising(given: Any, start_response: Any) -> list[bytes]:
    """Raise."""
    raise LookupError("nothing here")


APPLICATIONS = [plain, busy, failing, raising]
PROVIDERS: dict[str, Callable[[], TracerProvider]] = {
    "stock": TracerProvider,
    "few attributes": lambda: TracerProvider(span_limits=SpanLimits(max_span_attributes=4)),
    "short values": lambda: TracerProvider(span_limits=SpanLimits(max_span_attribute_length=3)),
    "off": lambda: TracerProvider(sampling.ALWAYS_OFF),
    "of our parent": lambda: TracerProvider(sampling.DEFAULT_OFF),
    "concurrent": lambda: TracerProvider(active_span_processor=ConcurrentMultiSpanProcessor(2)),
    "resource": lambda: TracerProvider(resource=Resource({"service.name": "shop"})),
}


class Served:
    """A middleware over a user's providers, and what came of its requests."""

    def __init__(self, app: Any, provider: TracerProvider, *processors: SpanProcessor, **options: Any) -> None:
        self.memory = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.provider = provider
        for each in processors:
            provider.add_span_processor(each)
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.spans: list[Any] = []

        def outer(given: Any, start_response: Any) -> Any:
            self.spans.append(trace.get_current_span())
            return app(given, start_response)

        self.app = OtelMiddleware(outer, tracer_provider=provider, meter_provider=self.meters, **options)

    def request(self, **changes: Any) -> None:
        try:
            call_wsgi(self.app, environ(PATH_INFO="/items", HTTP_TRACEPARENT=PARENT, **changes))
        except LookupError:
            return

    def points(self) -> Any:
        """Return all points of our metrics but their times and durations."""
        return points(self.reader)


def points(reader: InMemoryMetricReader) -> Any:
    data = reader.get_metrics_data()
    found = []
    for resource in data.resource_metrics if data else ():
        for each in resource.scope_metrics:
            for metric in each.metrics:
                for point in metric.data.data_points:
                    size = metric.name in {REQUEST_SIZE, RESPONSE_SIZE}
                    value = (point.count, point.sum if size else None) if hasattr(point, "count") else point.value
                    found.append((metric.name, metric.unit, sorted(point.attributes.items()), value))
    return sorted(found, key=repr)


@pytest.mark.parametrize("make", PROVIDERS.values(), ids=PROVIDERS)
@pytest.mark.parametrize("app", APPLICATIONS)
@pytest.mark.parametrize("kind", ["simple", "batch", "noting", "adding"])
def test_both_ways_give_processors_and_readers_the_same(
    make: Callable[[], TracerProvider], app: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the provider is, what its processors, exporters and readers get does not depend on private names."""
    found = []
    for public in ("true", "false"):
        monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", public)
        memory, noting = InMemorySpanExporter(), Noting()
        export = (BatchSpanProcessor if kind == "batch" else SimpleSpanProcessor)(memory)
        processors = {"noting": [noting], "adding": [Adding(), export]}.get(kind, [export])
        served = Served(app, make(), *processors)
        for _ in range(3):
            served.request()
        served.provider.force_flush()
        exported = [(type(span), shape(span)) for span in memory.get_finished_spans()]
        found.append((exported, noting.calls, served.points()))
        served.provider.shutdown()
    assert found[0] == found[1]


@pytest.mark.private_names
def test_the_guarded_lane_is_on_where_all_is_the_sdks_own() -> None:
    """A stock tracer has its request spans of the lane, and its figures are noted: else nothing above would be tested."""
    served = Served(plain, TracerProvider(shutdown_on_exit=False), BatchSpanProcessor(InMemorySpanExporter()))
    served.request()
    made: Any = served.app
    served.provider.shutdown()
    instruments = made._edge.instruments()
    assert (True, True, True) == (
        isinstance(served.spans[0], RequestSpan), instruments.folding is not None, instruments.lane is not None,
    )  # fmt: skip


def test_a_processor_that_is_added_later_is_called() -> None:
    """From the next request on, a processor that the user adds is called at start, before the end and at the end."""
    noting = Noting()
    served = Served(plain, TracerProvider(shutdown_on_exit=False), SimpleSpanProcessor(InMemorySpanExporter()))
    served.request()
    served.provider.add_span_processor(noting)
    served.request()
    assert ["start", "ending", "end"] == [call[0] for call in noting.calls]


def test_a_method_put_in_the_place_of_a_stock_processors_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's own `on_end` in a stock processor's place gets what the SDK's span would have given it."""
    ended: list[Any] = []
    processor = SimpleSpanProcessor(InMemorySpanExporter())
    monkeypatch.setattr(processor, "on_end", ended.append)
    Served(plain, TracerProvider(shutdown_on_exit=False), processor).request()
    assert [ReadableSpan] == [type(span) for span in ended]


def test_a_subclass_of_a_stock_processor_is_called() -> None:
    """A subclass may do at the start what the SDK's own processor does not."""

    class Marking(SimpleSpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            span.set_attribute("marked", True)

    memory = InMemorySpanExporter()
    Served(plain, TracerProvider(shutdown_on_exit=False), Marking(memory)).request()
    (span,) = memory.get_finished_spans()
    assert True is (span.attributes or {}).get("marked")


def test_a_sampler_of_the_users_is_called_as_specified() -> None:
    """A sampler that nobody knows decides with name, kind and attributes of the request."""
    seen = []

    class Choosing(sampling.Sampler):
        def should_sample(self, parent_context: Any, trace_id: int, name: str, *rest: Any, **more: Any) -> Any:
            attributes = rest[1] if len(rest) > 1 else more["attributes"]
            seen.append((name, attributes["url.path"]))
            return sampling.SamplingResult(sampling.Decision.RECORD_AND_SAMPLE, {"chosen": True})

        def get_description(self) -> str:
            return "choosing"

    memory = InMemorySpanExporter()
    served = Served(plain, TracerProvider(Choosing(), shutdown_on_exit=False), SimpleSpanProcessor(memory))
    served.request()
    (span,) = memory.get_finished_spans()
    assert ([("GET", "/items")], True) == (seen, (span.attributes or {}).get("chosen"))


def test_middlewares_that_share_a_meter_count_running_requests_together() -> None:
    """Two applications of one provider have one number of running requests."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    seen = []

    def inner(given: Any, start_response: Any) -> list[bytes]:
        seen.extend(point for point in points(reader) if point[0] == ACTIVE)
        return plain(given, start_response)

    options: dict[str, Any] = {"tracer_provider": TracerProvider(shutdown_on_exit=False), "meter_provider": meters}
    second = OtelMiddleware(inner, **options)

    def outer(given: Any, start_response: Any) -> Any:
        list(second(environ(PATH_INFO="/inside"), lambda *_: None))
        return plain(given, start_response)

    call_wsgi(OtelMiddleware(outer, **options))
    assert [2] == [point[3] for point in seen]


def test_a_reader_that_is_added_hears_of_later_requests_only() -> None:
    """What was noted before a reader was added is nothing of its, as with the instruments themselves."""
    served = Served(plain, TracerProvider(shutdown_on_exit=False))
    add: Any = getattr(served.meters, "add_metric_reader", None)
    if add is None:
        pytest.skip("this SDK cannot add readers")
    later = InMemoryMetricReader()
    served.request()
    add(later)
    served.request()
    counts = [[point[3][0] for point in found if point[0] == DURATION] for found in (served.points(), points(later))]
    assert [[2], [1]] == counts


def test_figures_are_folded_before_they_are_many() -> None:
    """Without a collection the requests themselves fold what was noted: memory does not grow with their number."""
    from otelfork.lane.owned import FOLD_AT

    served = Served(plain, TracerProvider(sampling.ALWAYS_OFF, shutdown_on_exit=False))
    for number in range(FOLD_AT + 10):
        served.request(REQUEST_METHOD=("GET", "POST", "PUT")[number % 3])
    made: Any = served.app
    folding = made._edge.instruments().folding
    waiting = 0 if folding is None else sum(len(batch.entries) for batch in folding._batches.values())
    assert (True, FOLD_AT + 10) == (
        waiting <= 10, sum(point[3][0] for point in served.points() if point[0] == DURATION),
    )  # fmt: skip


def test_an_asgi_application_has_the_same() -> None:
    """The same spans and points come of an ASGI application, whichever names are used."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    reader = InMemoryMetricReader()

    async def app(given: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12"})

    meters = MeterProvider([reader], shutdown_on_exit=False)
    call_asgi(OtelMiddleware(app, tracer_provider=provider, meter_provider=meters), scope(path="/x", raw_path=b"/x"))
    (span,) = memory.get_finished_spans()
    seen = {point[0]: point[3] for point in points(reader)}
    assert (ReadableSpan, "/x", {ACTIVE: 0, DURATION: (1, None), REQUEST_SIZE: (1, 0), RESPONSE_SIZE: (1, 2)}) == (
        type(span), (span.attributes or {})["url.path"], seen,
    )  # fmt: skip
