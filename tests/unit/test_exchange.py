"""The exchange: ends once, agrees with itself, and never raises into the application."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, StaticSampler
from tests.unit.recording import DURATION, RESPONSE_SIZE, Recording, call_asgi, call_wsgi, environ, plain, sending_plain

from otelfork.request.exchange import Exchange
from otelfork.request.instruments import Instruments
from otelfork.request.kinds import Plan
from otelfork.request.routes import in_environs
from otelfork.wsgi.environ import key, read, sketch

pytestmark = pytest.mark.usefixtures("said_nothing")


def begin(recording: Recording, **changes: Any) -> Exchange:
    made = environ(**changes)
    plan = Plan(recording.instruments, recording.settings, in_environs)
    kind = plan.kind(key(made, plan), read(made, recording.settings))
    return Exchange(plan, kind, sketch(made, plan), made)


STEPS = st.lists(
    st.sampled_from(
        [
            lambda exchange: exchange.respond(200, ()),
            lambda exchange: exchange.respond(None, ()),
            lambda exchange: exchange.respond(503, [("a", "b")]),
            lambda exchange: exchange.fail(ValueError("x")),
            lambda exchange: exchange.fail(type("Odd", (Exception,), {"__str__": lambda self: 1 / 0})()),
            lambda exchange: exchange.cut("client_disconnect"),
            lambda exchange: exchange.note({"a": 1}),
            lambda exchange: exchange.finish(),
            lambda exchange: exchange.end(),
        ]
    ),
    max_size=8,
)


@given(steps=STEPS)
def test_an_exchange_ends_exactly_once_in_any_order(steps: list[Any]) -> None:
    """Whatever is told to it and how often, there is one span, one point and no active request left."""
    recording = Recording()
    exchange = begin(recording)
    for step in steps:
        step(exchange)
    exchange.end()
    span = recording.span
    (point,) = recording.points(DURATION)
    expected = (1, 0, (span.end_time - span.start_time) / 1e9)
    assert expected == (point.count, recording.active, point.sum)


def test_the_duration_points_at_the_span() -> None:
    """The exemplar of the duration histogram has the ids of the request's span."""
    recording = Recording()
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False)
    recording.instruments = Instruments.create(recording.provider, meters)
    call_wsgi(recording.wsgi(plain))
    data = reader.get_metrics_data()
    assert data is not None
    (exemplar,) = [
        exemplar
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == DURATION
        for point in metric.data.data_points
        for exemplar in point.exemplars
    ]
    context = recording.span.get_span_context()
    assert (context.trace_id, context.span_id) == (exemplar.trace_id, exemplar.span_id)


def test_the_schema_and_the_scope_are_named() -> None:
    """Spans and metrics come from the scope otelfork, with the schema of the conventions they follow."""
    recording = Recording()
    call_wsgi(recording.wsgi(plain))
    scope = recording.span.instrumentation_scope
    assert scope is not None
    expected = ("otelfork", "https://opentelemetry.io/schemas/1.44.0")
    assert expected == (scope.name, scope.schema_url)


class Broken:
    """A tracer or an instrument of a provider that is out of order."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("out of order")


PARTS = ["tracer", "duration", "active_requests", "request_body_size", "response_body_size"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_broken_telemetry_does_not_reach_the_application(
    interface: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a tracer or an instrument that raises, every request is answered, and one line says so."""
    recording = Recording()
    setattr(recording.instruments, part, Broken())
    with caplog.at_level(logging.ERROR, logger="otelfork"):
        for _ in range(3):
            if interface == "wsgi":
                answered = call_wsgi(recording.wsgi(plain)).body
            else:
                answered = call_asgi(recording.asgi(sending_plain))[1]["body"]
    assert (b"hello world", 1) == (answered, len(caplog.records))


def test_an_unsampled_request_is_measured() -> None:
    """Metrics count every request; spans follow the sampler."""
    recording = Recording()
    recording.instruments = Instruments.create(
        TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False), recording.meters
    )
    call_wsgi(recording.wsgi(plain))
    expected = (0, 1, 11)
    assert expected == (
        len(recording.spans),
        recording.points(DURATION)[0].count,
        recording.points(RESPONSE_SIZE)[0].sum,
    )


def test_a_sampler_sees_the_attributes_of_the_request() -> None:
    """What is known at the begin is given to the sampler, and not added later."""
    seen: list[Any] = []

    class Watching(type(ALWAYS_OFF)):  # type: ignore[misc]
        def should_sample(self, *arguments: Any, **named: Any) -> Any:
            seen.append(named.get("attributes") or arguments[4])
            return super().should_sample(*arguments, **named)

    recording = Recording()
    provider = TracerProvider(sampler=Watching(Decision.DROP), shutdown_on_exit=False)
    recording.instruments = Instruments.create(provider, recording.meters)
    call_wsgi(recording.wsgi(plain), environ(PATH_INFO="/a"))
    expected = ["/a"]
    assert expected == [attributes["url.path"] for attributes in seen]


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_nothing_of_a_request_is_left_to_the_garbage_collector(interface: str) -> None:
    """Environ, scope and exchange form no cycle once the request is over: reference counting frees them."""
    recording = Recording()
    gc.collect()
    before = {id(thing) for thing in gc.get_objects() if type(thing) is Exchange}
    gc.disable()
    try:
        for _ in range(3):
            if interface == "wsgi":
                call_wsgi(recording.wsgi(plain))
            else:
                call_asgi(recording.asgi(sending_plain))
        left = [thing for thing in gc.get_objects() if type(thing) is Exchange and id(thing) not in before]
    finally:
        gc.enable()
    assert [] == left


@pytest.mark.parametrize("decision", [Decision.RECORD_AND_SAMPLE, Decision.DROP])
def test_a_span_around_the_request_that_came_of_its_headers_is_the_parent(decision: Decision) -> None:
    """Inside a span that an outer middleware made of the same traceparent, the SERVER span is that span's child."""
    recording = Recording()
    sender = "00-12345678901234567890123456789012-1234567890123456-01"
    tracer = TracerProvider(sampler=StaticSampler(decision), shutdown_on_exit=False).get_tracer("outer")
    seen: list[Any] = []

    def app(given: dict[str, Any], start_response: Any) -> Any:
        span = trace.get_current_span()
        seen.append((span.get_span_context().trace_id, getattr(span, "parent", None)))
        return plain(given, start_response)

    with tracer.start_as_current_span("outer", propagate.extract({"traceparent": sender})) as outer:
        call_wsgi(recording.wsgi(app), environ(HTTP_TRACEPARENT=sender))
    around = outer.get_span_context()
    sampled = decision is Decision.RECORD_AND_SAMPLE
    expected = (around.trace_id, around.span_id if sampled else None, int(sampled))
    ((trace_id, parent),) = seen
    assert expected == (trace_id, parent and parent.span_id, len(recording.spans))


def test_a_context_left_by_another_request_adopts_nobody() -> None:
    """An ended span that somebody left on the thread is not the parent of the next stranger's request."""
    recording = Recording()
    stale = recording.provider.get_tracer("stale").start_span("stale")
    stale.end()
    token = context.attach(trace.set_span_in_context(stale))
    try:
        call_wsgi(recording.wsgi(plain))
    finally:
        context.detach(token)
    assert recording.spans[-1].parent is None
