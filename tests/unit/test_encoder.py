"""Laws of the encoder: for any spans it writes what the standard encoder writes, and where that one gives up it goes on."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otelfork.encoding import fields, wire
from otelfork.encoding.encoder import Encoder

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = TEXT | st.sampled_from(["GET /items/{id}", "x" * 127, "x" * 128, "é" * 200, "n" * 20_000])
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, 127, 128, 2**63 - 1, -(2**63)])
SCALARS = st.one_of(
    st.booleans(),
    INTEGERS,
    st.floats(),
    NAMES,
    st.binary(max_size=9),
    st.none(),
    st.sampled_from([1, 1.0, True, 0, 0.0]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=5) | st.none()
TIMES = st.integers(0, 2**64 - 1) | st.none()
DROPPED = st.integers(0, 2**32 - 1)
STATES = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), st.sampled_from(["1", "x=y"]), max_size=3
)
CONTEXTS = st.builds(
    lambda trace, span, remote, sampled, state: SpanContext(
        trace, span, is_remote=remote, trace_flags=TraceFlags(sampled), trace_state=TraceState(list(state.items()))
    ),
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.sampled_from([0, 1, 3]),
    STATES,
)


@st.composite
def bounded(draw: st.DrawFn) -> BoundedAttributes:
    """Attributes as the SDK holds them, some dropped."""
    held = BoundedAttributes(draw(st.none() | st.integers(0, 3)), draw(ATTRIBUTES), immutable=draw(st.booleans()))
    held.dropped += draw(st.sampled_from([0, 0, 1, 300]))
    return held


EVENTS = st.builds(lambda name, attributes, time: Event(name, attributes, time), NAMES, bounded(), TIMES.filter(bool))
LINKS = st.builds(Link, CONTEXTS, bounded() | ATTRIBUTES)
STATUSES = st.sampled_from(
    [Status(), Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "bad é")]
)
RESOURCES = st.sampled_from([
    Resource.get_empty(),
    Resource({"service.name": "shop", "process.pid": 7}, "https://example.org/schema"),
    Resource({"service.name": "shop", "process.pid": 7}, "https://example.org/schema"),
    Resource({"service.name": "other", "parts": ["a", "b"]}),
])  # fmt: skip
SCOPES = st.sampled_from([
    None,
    InstrumentationScope("otelfork"),
    InstrumentationScope("otelfork"),
    InstrumentationScope("otelfork", "1.2", "https://example.org/scope", {"team": "web", "level": 3}),
    InstrumentationScope("otelfork", "1.2", "https://example.org/scope"),
    InstrumentationScope(""),
])  # fmt: skip
SPANS = st.builds(
    ReadableSpan,
    name=NAMES,
    context=CONTEXTS,
    parent=CONTEXTS | st.none(),
    resource=RESOURCES,
    attributes=bounded() | ATTRIBUTES,
    events=st.lists(EVENTS, max_size=2),
    links=st.lists(LINKS, max_size=2),
    kind=st.sampled_from(SpanKind),
    status=STATUSES,
    start_time=TIMES,
    end_time=TIMES,
    instrumentation_scope=SCOPES,
)


def decoded(spans: Sequence[Any], encoder: Encoder | None = None) -> Any:
    """Encode with ours, decode with the official classes."""
    return ExportTraceServiceRequest.FromString((encoder or Encoder()).encode(spans))


def plain(message: Any) -> bytes:
    """Return what two messages have in common exactly if they are equal, NaN included."""
    written: bytes = message.SerializeToString(deterministic=True)
    return written


def sdk_span(
    attributes: Mapping[str, Any] | None = None, *, limits: SpanLimits | None = None, **options: Any
) -> ReadableSpan:
    """Return a span made by the SDK's own tracer."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    span = provider.get_tracer("test", "1").start_span("work", attributes=attributes, **options)
    span.add_event("first", {"a": 1})
    span.add_event("second", {"b": 2, "c": 3})
    span.add_link(SpanContext(5, 6, is_remote=True), {"d": 4})
    span.add_link(SpanContext(7, 8, is_remote=False))
    span.end()
    return memory.get_finished_spans()[0]


@given(st.lists(SPANS, max_size=4))
def test_any_spans_are_written_as_by_the_standard_encoder(spans: list[ReadableSpan]) -> None:
    """Every field of every span, event, link, status, resource and scope is the same, and so is the grouping."""
    assert plain(encode_spans(spans)) == plain(decoded(spans))


@given(st.lists(st.lists(SPANS, max_size=3), min_size=2, max_size=4))
def test_what_was_seen_before_changes_nothing(batches: list[list[ReadableSpan]]) -> None:
    """An encoder that has seen other batches writes what a new one writes."""
    used = Encoder()
    again = [used.encode(batch) for batch in batches]
    assert [Encoder().encode(batch) for batch in batches] == again


@given(st.lists(SPANS, max_size=3))
def test_the_bytes_are_those_of_protobuf(spans: list[ReadableSpan]) -> None:
    """Decoding and encoding again by protobuf gives the same bytes: fields in order, no default written."""
    packed = Encoder().encode(spans)
    assert ExportTraceServiceRequest.FromString(packed).SerializeToString() == packed


@pytest.mark.parametrize("kind", list(SpanKind))
def test_a_span_of_the_sdk_is_written_as_by_the_standard_encoder(kind: SpanKind) -> None:
    """A span as tracers make them, of each kind, with events and links."""
    span = sdk_span({"a": "b", "n": 5, "f": 0.5, "t": True, "s": ("x", "y")}, kind=kind)
    assert plain(encode_spans([span])) == plain(decoded([span]))


def test_dropped_attributes_events_and_links_are_counted_as_by_the_standard_encoder() -> None:
    """What the SDK's limits drop is counted in the span, its events and its links."""
    limits = SpanLimits(max_span_attributes=1, max_events=1, max_links=1, max_event_attributes=1, max_link_attributes=0)
    span = sdk_span({"a": 1, "b": 2, "c": 3}, limits=limits)
    written = decoded([span])
    found = written.resource_spans[0].scope_spans[0].spans[0]
    counts = (found.dropped_attributes_count, found.dropped_events_count, found.dropped_links_count)
    assert plain(encode_spans([span])) == plain(written)
    assert counts == (2, 1, 1)


@pytest.mark.parametrize("remote", [True, False])
def test_flags_tell_whether_the_parent_is_remote(remote: bool) -> None:
    """`Span.flags` has the bit that says it is known, and the one that says the parent is remote."""
    parent = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=remote, trace_flags=TraceFlags(1))))
    span = sdk_span(context=parent)
    found = decoded([span]).resource_spans[0].scope_spans[0].spans[0]
    assert (0x300 if remote else 0x100) == found.flags


def test_equal_resources_and_scopes_are_one_group() -> None:
    """Spans of equal resources and scopes come under one head, in the order of their first span."""
    spans = [
        ReadableSpan(
            str(number),
            SpanContext(1, number + 1, is_remote=False),
            resource=Resource({"service.name": name}),
            instrumentation_scope=InstrumentationScope(name),
        )
        for number, name in enumerate("abab")
    ]
    groups = decoded(spans).resource_spans
    found = [[span.name for scope in group.scope_spans for span in scope.spans] for group in groups]
    assert [["0", "2"], ["1", "3"]] == found


def test_no_spans_are_no_bytes() -> None:
    """An empty batch is an empty message."""
    assert Encoder().encode([]) == b""


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "\udfff" * 200])
def test_a_lone_surrogate_costs_no_more_than_itself(text: str) -> None:
    """Text that has no UTF-8 is written with question marks, in a name, a key, a value, an event and a description."""
    span = ReadableSpan(
        text,
        SpanContext(1, 2, is_remote=False),
        attributes={text: text, "list": [text], "map": {text: 1}},
        events=[Event(text, {"k": text}, 1)],
        status=Status(StatusCode.ERROR, text),
        resource=Resource.get_empty(),
    )
    found = decoded([span]).resource_spans[0].scope_spans[0].spans[0]
    shown = text.encode("utf-8", "replace").decode()
    values = (found.name, found.attributes[0].key, found.attributes[0].value.string_value, found.events[0].name)
    assert (shown, shown, shown, shown) == values


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_an_integer_over_64_bits_is_written_as_its_digits(number: int) -> None:
    """The specification's attribute type mapping: such integers become decimal strings."""
    span = ReadableSpan(
        "s", SpanContext(1, 2, is_remote=False), attributes={"n": number}, resource=Resource.get_empty()
    )
    found = decoded([span]).resource_spans[0].scope_spans[0].spans[0]
    assert str(number) == found.attributes[0].value.string_value


class _Level(enum.IntEnum):
    HIGH = 3


class _Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize("value", [_Level.HIGH, _Colour.RED, bytearray(b"ab"), range(3), {1: 2}])
def test_subclasses_and_other_collections_are_written_as_by_the_standard_encoder(value: object) -> None:
    """What is an integer, a string, a sequence or a mapping by inheritance is written as one."""
    span = ReadableSpan("s", SpanContext(1, 2, is_remote=False), attributes={"v": value}, resource=Resource.get_empty())
    assert plain(encode_spans([span])) == plain(decoded([span]))


def test_an_attribute_of_no_known_type_is_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The others of its span are there; the log names the key once."""
    spans = [
        ReadableSpan(
            "s",
            SpanContext(1, 2, is_remote=False),
            attributes={"bad": object(), "nested": [object()], "good": 1},
            resource=Resource.get_empty(),
        )
    ] * 3
    with caplog.at_level(logging.ERROR, "otelfork"):
        found = decoded(spans).resource_spans[0].scope_spans[0].spans
    keys = [[attribute.key for attribute in span.attributes] for span in found]
    assert ([["good"]] * 3, 2) == (keys, len(caplog.records))


def test_a_span_that_cannot_be_encoded_costs_no_other() -> None:
    """It is left out, counted, and the reason is kept; its neighbours arrive."""
    good = ReadableSpan("good", SpanContext(1, 2, is_remote=False), resource=Resource.get_empty())
    bad = ReadableSpan("bad", None, resource=Resource.get_empty())
    encoder = Encoder()
    found = decoded([good, bad, good], encoder).resource_spans[0].scope_spans[0].spans
    assert ([span.name for span in found], encoder.refused, "AttributeError" in encoder.reason) == (
        ["good"] * 2,
        1,
        True,
    )


def test_a_span_that_packs_itself_stands_beside_the_sdks() -> None:
    """Where a class has `otlp`, that adds the spans, in the group of their resource and scope and in their order."""

    class Lean:
        resource = Resource.get_empty()
        instrumentation_scope = None

        @staticmethod
        def otlp(spans: Iterable[Any], encoder: Encoder, into: list[bytes]) -> None:
            body = encoder.name("lean") + encoder.attribute("k", 1)
            into.extend([wire.message(wire.SCOPE_SPANS_SPANS, body) for _ in spans])

    span = ReadableSpan("fat", SpanContext(1, 2, is_remote=False), resource=Resource.get_empty())
    found = decoded([span, Lean(), Lean(), span, Lean()]).resource_spans[0].scope_spans[0].spans
    assert ["fat", "lean", "lean", "fat", "lean"] == [span.name for span in found]


def _sizes(encoder: Encoder) -> Iterator[int]:
    for cache in (encoder.strings, encoder.integers):
        yield len(cache)
        yield from map(len, cache.values())


def test_no_cache_grows_without_bound() -> None:
    """Keys, values, names, resources and scopes without number leave a bounded number of entries."""
    encoder = Encoder()
    many = fields.MOST * 3
    for number in range(many):
        scope = InstrumentationScope(str(number))
        span = ReadableSpan(
            f"name {number}",
            SpanContext(1, 2, is_remote=False),
            attributes={
                "string": str(number),
                "integer": number,
                f"key {number}": "x",
                "long": "x" * 300 + str(number),
            },
            resource=Resource({"n": number}),
            instrumentation_scope=scope,
        )
        encoder.encode([span])
    sizes = [*_sizes(encoder), len(encoder.names), len(encoder._resources), len(encoder._scopes)]
    assert max(sizes) <= fields.MOST


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_read_back_as_the_number(number: int) -> None:
    """Seven bits a byte, the lowest first, the highest bit set on all but the last."""
    packed = wire.varint(number)
    read = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(packed))
    assert (number, [0x80] * (len(packed) - 1) + [0]) == (read, [byte & 0x80 for byte in packed])
