"""Laws of the request lane: after the same calls its span is the SDK's span, for exporters, processors and user code."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otelfork import lane
from otelfork.encoding.encoder import Encoder
from otelfork.lane.sampler import decider
from otelfork.senders import made, sender_of

SHARED = {"http.request.method": "GET", "server.port": 8000}
OWN = {"url.path": "/items", "url.query": "page=2"}


def sketched(attributes: Any) -> tuple[Any, ...]:
    """Return what a request was sent, for a `Made` kind of requests: the attributes themselves."""
    return (attributes, *[None] * 6)


class Made:
    """A kind of request whose attributes are what it is given in the place of the path."""

    name = "GET"

    def attributes(self, sketch: Any) -> dict[str, Any]:
        return dict(sketch[0])

    def pack(self, span: Any, encoder: Encoder) -> bytes:
        return encoder.joined(span._path)


class Ended:
    """An ending with these attributes."""

    def __init__(self, name: str, attributes: dict[str, Any], code: StatusCode) -> None:
        self.name = name
        self.attributes = attributes
        self.status = None if code is StatusCode.UNSET else Status(code)
        self.packed: Any = None
        self.marks: Any = None


GET = Made()
LIMITS = [None, SpanLimits(max_span_attributes=3), SpanLimits(max_span_attributes=70), SpanLimits(max_attribute_length=4),
          SpanLimits(max_events=1, max_links=1, max_event_attributes=1, max_link_attributes=0)]  # fmt: skip
SAMPLERS = [
    sampling.ALWAYS_ON,
    sampling.ALWAYS_OFF,
    sampling.DEFAULT_ON,
    sampling.DEFAULT_OFF,
    sampling.TraceIdRatioBased(0.5),
    sampling.ParentBasedTraceIdRatio(0.5),
    sampling.ParentBased(sampling.ALWAYS_OFF, remote_parent_not_sampled=sampling.ALWAYS_ON),
]
KEYS = st.sampled_from(["a", "url.path", "b", ""])
VALUES = st.sampled_from(["x", "longer", 1, True, 1.5, ("p", "q"), None, b"raw", {"in": 1}])
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=3)
TARGETS = st.builds(SpanContext, st.integers(0, 3), st.integers(0, 3), st.booleans())
_ERROR = ValueError("no such item")


def call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
    """One call of a method of the span."""
    return st.tuples(st.just(name), st.tuples(*arguments))


CALLS = st.lists(
    st.one_of(
        call("set_attribute", KEYS, VALUES),
        call("set_attributes", ATTRIBUTES),
        call("add_event", KEYS, ATTRIBUTES, st.integers(1, 9)),
        call("add_link", TARGETS, ATTRIBUTES),
        call("set_status", st.sampled_from(StatusCode), st.sampled_from([None, "why"])),
        call("set_status", st.sampled_from([Status(StatusCode.OK), Status(StatusCode.ERROR, "bad"), Status()])),
        call("update_name", st.sampled_from(["GET /items", "other", ""])),
        call("record_exception", st.just(_ERROR), ATTRIBUTES, st.just(7)),
        call(
            "close",
            st.sampled_from([0, 20, 30]),  # zero has no field
            st.sampled_from(["GET", "GET /items/{id}"]),
            st.dictionaries(st.sampled_from(["a", "http.route"]), st.just("own"), max_size=2),
            st.sampled_from([StatusCode.UNSET, StatusCode.ERROR]),
        ),
        call("look"),
        call("end", st.sampled_from([20, 30])),
    ),
    max_size=8,
)
PARENTS = st.sampled_from([
    None,
    SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("v", "1"), ("w", "2")])),
    SpanContext(2**127 + 5, 6, is_remote=True, trace_flags=TraceFlags(3)),
    SpanContext(2**64 - 1, 6, is_remote=True, trace_flags=TraceFlags(0)),
    SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(1)),
    SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(2)),
])  # fmt: skip


class Ids(IdGenerator):
    """Ids that two providers can have in common."""

    def __init__(self, *, said_random: bool = True) -> None:
        self._bits = random.Random(1).getrandbits
        self._random = said_random

    def generate_span_id(self) -> int:
        return self._bits(64)

    def generate_trace_id(self) -> int:
        return self._bits(128)

    def is_trace_id_random(self) -> bool:
        return self._random


class Kept(SpanProcessor):
    """Keeps what ends, and looks at what begins as users' processors do."""

    def __init__(self, *, meddling: bool = False) -> None:
        self.ended: list[ReadableSpan] = []
        self.began: list[Any] = []
        self._meddling = meddling

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.began.append((type(span).__mro__.count(Span), span.name, dict(span.attributes or {}), span.is_recording()))
        if self._meddling:
            span.set_attribute("from processor", span.kind.name)

    def _on_ending(self, span: Span) -> None:
        self.began.append("ending")

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class Pair:
    """The SDK's span, and the lane's, each from a provider of its own with the same ids."""

    def __init__(
        self,
        parent: SpanContext | None = None,
        limits: SpanLimits | None = None,
        sampler: sampling.Sampler = sampling.ALWAYS_ON,
        *processors: Callable[[], SpanProcessor],
        said_random: bool = True,
    ) -> None:
        self.sent = Kept(), Kept()
        self.queue: list[Any] = []
        self.others = [make() for make in processors], [make() for make in processors]
        self.tracers: list[Any] = []
        for sent, others in zip(self.sent, self.others, strict=True):
            provider = TracerProvider(
                sampler, Resource({"service.name": "shop"}), shutdown_on_exit=False, span_limits=limits,
                id_generator=Ids(said_random=said_random),
            )  # fmt: skip
            for processor in (sent, *others):
                provider.add_span_processor(processor)
            self.tracers.append(provider.get_tracer("test", "1"))
        made = lane.of(self.tracers[1], self.queue.append, self.sent[1])
        assert made is not None
        self.lane = made
        around = Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context())
        self.theirs = self.tracers[0].start_span("GET", around, SpanKind.SERVER, {**SHARED, **OWN}, start_time=10)
        own = sketched({**SHARED, **OWN})
        self.ours: Any = None
        if parent is None or (parent.is_remote and not parent.trace_state):
            self.ours = made.begin(GET, own, None if parent is None else sender_of(parent), 10)
        if self.ours is None:
            self.ours = made.start(GET, own, around, parent, 10)

    def both(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Call a method of both; `close` is ours alone, `look` reads all there is and compares."""
        if name == "look":
            assert seen(self.theirs) == seen(self.ours)
            return
        if name == "close":
            end, new_name, attributes, code = arguments
            for span in (self.theirs, self.ours):
                if isinstance(span, lane.RequestSpan):
                    self.lane.close(span, end, Ended(new_name, attributes, code))
                    continue
                if getattr(span, "name", None) == "GET" != new_name:
                    span.update_name(new_name)
                span.set_attributes(attributes)
                # The application's own word about its error is kept.
                told = getattr(getattr(span, "status", None), "status_code", None)
                if code is not StatusCode.UNSET and told is not StatusCode.ERROR:
                    span.set_status(Status(code))
                span.end(end)
            return
        getattr(self.theirs, name)(*arguments)
        getattr(self.ours, name)(*arguments)

    def exported(self) -> tuple[list[Any], list[Any]]:
        """What both handed to the exporters."""
        return [*self.sent[0].ended], [*self.queue, *self.sent[1].ended]


def seen(span: Any) -> Any:
    """All that user code sees of a span."""
    if not hasattr(span, "attributes"):
        return isinstance(span, NonRecordingSpan), span.get_span_context(), span.is_recording()
    return (
        span.get_span_context(), tuple(span.get_span_context()), span.context, span.parent, span.name, span.kind,
        dict(span.attributes), span.dropped_attributes, span.dropped_events, span.dropped_links, span.start_time,
        span.end_time, span.status.status_code, span.status.description, span.resource, span.instrumentation_scope,
        [(event.name, dict(event.attributes), event.timestamp, event.dropped_attributes) for event in span.events],
        [(link.context, dict(link.attributes), link.dropped_attributes) for link in span.links],
        getattr(span, "is_recording", str)(), _json(span), isinstance(span, Span), isinstance(span, ReadableSpan),
    )  # fmt: skip


def _json(span: Any) -> str:
    try:
        return str(span.to_json())
    except TypeError as error:  # bytes, which JSON does not have
        return str(error)


def plain(spans: list[Any]) -> bytes:
    """The standard encoder's bytes."""
    written: bytes = encode_spans(spans).SerializeToString(deterministic=True)
    return written


def ours_plain(spans: list[Any]) -> bytes:
    """Our encoder's bytes, read and written by protobuf."""
    message = ExportTraceServiceRequest.FromString(Encoder().encode(spans))
    written: bytes = message.SerializeToString(deterministic=True)
    return written


@settings(max_examples=300)
@given(CALLS, PARENTS, st.sampled_from(LIMITS))
def test_after_the_same_calls_the_same_is_exported(
    calls: list[tuple[str, tuple[Any, ...]]], parent: SpanContext | None, limits: SpanLimits | None
) -> None:
    """Whatever is called, in whatever order, with whatever limits: the protobuf is the same, by both encoders."""
    pair = Pair(parent, limits)
    for name, arguments in [*calls, ("end", (40,))]:
        pair.both(name, arguments)
    theirs, ours = pair.exported()
    assert seen(pair.theirs) == seen(pair.ours)
    assert (1, plain(theirs), plain(theirs)) == (len(ours), plain(ours), ours_plain(ours))


@given(CALLS, PARENTS, st.booleans())
def test_users_processors_see_what_they_see_of_the_sdk(
    calls: list[tuple[str, tuple[Any, ...]]], parent: SpanContext | None, meddling: bool
) -> None:
    """Beside others the lane calls every processor as the SDK does, with a live span and then a finished one."""
    pair = Pair(parent, None, sampling.ALWAYS_ON, Kept, lambda: Kept(meddling=meddling))
    for name, arguments in [*calls, ("end", (40,))]:
        pair.both(name, arguments)
    theirs, ours = pair.exported()
    others = [[(kept.began, list(map(seen, kept.ended))) for kept in kind] for kind in pair.others]
    assert others[0] == others[1]
    assert ([], plain(theirs)) == (pair.queue, plain(ours))


@given(st.sampled_from(SAMPLERS), PARENTS, st.booleans())
def test_stock_samplers_decide_as_they_do(
    sampler: sampling.Sampler, parent: SpanContext | None, said_random: bool
) -> None:
    """Sampled or not, the span has the same ids, flags and trace state; what is not sampled records nothing."""
    pair = Pair(parent, None, sampler, said_random=said_random)
    known = decider(sampler)
    pair.both("end", (40,))
    theirs, ours = pair.exported()
    assert known is not None
    assert (seen(pair.theirs), plain(theirs)) == (seen(pair.ours), ours_plain(ours))


class Custom(sampling.Sampler):
    """Adds an attribute, and records without sampling."""

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *others: Any, **more: Any) -> Any:
        return sampling.SamplingResult(sampling.Decision.RECORD_ONLY, {"sampler": name}, TraceState([("s", "1")]))

    def get_description(self) -> str:
        return "AlwaysOnSampler"


@pytest.mark.parametrize("sampler", [Custom(), sampling.ParentBased(Custom())])
def test_any_other_sampler_is_called(sampler: sampling.Sampler) -> None:
    """The span is then the tracer's own, with what the sampler gave it."""
    pair = Pair(None, None, sampler)
    pair.both("end", (40,))
    theirs, ours = pair.exported()
    assert (None, {"sampler": "GET"}) == (decider(sampler), dict(pair.ours.attributes))
    assert (seen(pair.theirs), plain(theirs), []) == (seen(pair.ours), plain(ours), pair.queue)


def test_a_sampler_that_is_exchanged_later_is_called() -> None:
    """Where somebody gives the tracer another sampler, the lane does not go on with the old one."""
    pair = Pair()
    pair.tracers[1].sampler = sampling.ALWAYS_OFF
    spans = pair.lane.begin(GET, sketched(OWN), None, 10), pair.lane.start(GET, sketched(OWN), Context(), None, 10)
    assert (None, False) == (spans[0], spans[1].is_recording())


def test_a_span_that_cannot_be_packed_is_left_out() -> None:
    """Its neighbours arrive, whatever their length and however they ended; it is counted."""
    pair, encoder = Pair(), Encoder()
    sketches = [sketched(each) for each in (OWN, None, {"url.path": "x" * 3000}, OWN, {})]
    spans = [pair.lane.begin(GET, sketch, sender, 10) for sketch in sketches for sender in (None, made(1, 2, 1))]
    for number, span in enumerate(spans):
        pair.lane.close(span, 20 + number, Ended(f"GET {number}", {"a": "own"}, StatusCode.UNSET))
    spans[0]._touched()
    (resource,) = ExportTraceServiceRequest.FromString(encoder.encode(spans)).resource_spans
    (scope,) = resource.scope_spans
    expected = [*range(20, 22), *range(24, 30)]
    assert (expected, 2) == ([span.end_time_unix_nano for span in scope.spans], encoder.refused)


def test_children_are_parented_right() -> None:
    """A child of the SDK's tracer, made in the lane span's context, has its trace and its span id."""
    pair = Pair()
    child = pair.tracers[1].start_span("child", trace.set_span_in_context(pair.ours, Context()))
    context = pair.ours.get_span_context()
    assert (context, context.trace_id) == (child.parent, child.get_span_context().trace_id)


def test_as_a_context_manager_it_records_what_the_sdk_records() -> None:
    """An exception in a `with` block becomes an event and a status, and the span ends."""
    pair = Pair()
    for span in (pair.theirs, pair.ours):
        with pytest.raises(ValueError, match="no such item"), span:
            raise _ERROR
    theirs, ours = (span[0] for span in pair.exported())
    found = [(span.status.description, [event.name for event in span.events]) for span in (theirs, ours)]
    assert found[0] == found[1]


def test_there_is_no_lane_for_another_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that is not the SDK's, the SDK's metrics about spans, or an SDK of another shape: the tracer itself is used."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    counting = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    made = [lane.of(given, id, None) is not None for given in (tracer, trace.NoOpTracer(), counting)]
    monkeypatch.setattr(Span, "_new_events", None)
    monkeypatch.setattr(lane, "fits", lane.fits.__wrapped__)
    assert ([True, False, False], None) == (made, lane.of(tracer, id, None))
