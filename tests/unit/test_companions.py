"""Companions of request spans: what they add is there for exporters and processors, and the span stays cheap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.unit.test_lane import GET, sketched
from tests.unit.test_lane_wiring import exporting, serve

from otelfork import forks, lane
from otelfork.encoding.encoder import Encoder
from otelfork.lane import Companion, Lane, RequestSpan, Shared
from otelfork.senders import made
from otelfork.system.figures import Figures

COLOUR = Shared({"colour": "red"})


class Painting(Companion):
    """Adds a shared attribute and one of the span's own; remembers who left."""

    def __init__(self, *, many: int = 0) -> None:
        self.left: list[bytes] = []
        self.leave = self.left.append
        self.many = many
        self.asked: list[bytes] = []

    def moment(self) -> Shared:
        return COLOUR

    def accompany(self, name: str, trace_id: bytes, span_id: bytes) -> dict[str, Any]:
        self.asked.append(trace_id)
        return {"number": int.from_bytes(span_id, "big"), **{f"more{number}": number for number in range(self.many)}}


def started(
    companion: Companion,
    *processors: SpanProcessor,
    parent: SpanContext | None = None,
    sender: bytes | None = None,
    **limits: int,
) -> tuple[Any, list[Any]]:
    """Return a span of a lane with a companion and other processors, and where ended spans are put."""
    provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(**limits))
    for processor in (companion, *processors):
        provider.add_span_processor(processor)
    put: list[Any] = []
    last = processors[-1] if processors else SpanProcessor()
    if not processors:
        provider.add_span_processor(last)
    tracer: Any = provider.get_tracer("t")
    made = Lane(tracer, lane.parting([companion], put.append), last, [companion])
    if sender is not None:
        return made.begin(GET, sketched({"url.path": "/"}), sender, 1), put
    context = trace.set_span_in_context(NonRecordingSpan(parent)) if parent else trace.context_api.Context()
    return made.start(GET, sketched({"url.path": "/"}), context, parent, 1), put


def test_what_a_companion_adds_is_exported_and_the_sdks_fields_are_not_made():
    """The lane goes on alone."""
    span, put = started(Painting())
    span.end()
    unmade = span._inner.attributes is None
    added = {"colour": "red", "number": span.get_span_context().span_id}
    assert (True, [span]) == (unmade, put)
    assert {"url.path": "/", **added} == dict(span.attributes)
    assert Encoder().span(span._readable_span()) != b""


def test_a_companion_is_told_of_the_end_once():
    """With the span's id, by the thread that ends it."""
    companion = Painting()
    span, _ = started(companion)
    span.end()
    assert [span.id_bytes] == companion.left


@pytest.mark.parametrize(("remote", "expected"), [(True, "red"), (False, None)])
def test_only_local_roots_are_accompanied(remote: bool, expected: str | None):
    """A request inside a span of this process is none."""
    span, _ = started(Painting(), parent=SpanContext(5, 6, is_remote=remote, trace_flags=TraceFlags(1)))
    assert expected == span.attributes.get("colour")


def test_beside_another_processor_a_companion_is_a_processor_like_any_other():
    """The user's own finds its attributes at the start."""
    seen: list[Any] = []

    class Looking(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            seen.append(dict(span.attributes))

    span, _ = started(Painting(), Looking(), SpanProcessor())
    assert [{"url.path": "/", "colour": "red", "number": span.get_span_context().span_id}] == seen


def test_what_companions_add_counts_in_the_limit():
    """A limit that they could reach is the SDK's to keep."""
    span, _ = started(Painting(many=12), max_span_attributes=8)
    assert (8, 15 - 8) == (len(span.attributes), span.dropped_attributes)


def test_requests_of_one_sample_share_its_figures():
    """A kind of requests is joined to a sample once, and what a sample says is packed once."""
    sample = Figures().moment()
    assert sample is not None
    joined = [sample.of(GET) for _ in range(2)]
    encoder = Encoder()
    packed = [joined[0].pack(SimpleNamespace(_path={"url.path": path}), encoder) for path in ("/a", "/b")]
    assert (True, True, True) == (
        joined[0] is joined[1],
        "system.cpu.usage" in joined[0].attributes(sketched({})),
        all(each.startswith(sample.pack(encoder)) for each in packed),
    )


@pytest.mark.parametrize("many", [1, 3])
def test_companions_are_asked_in_their_order(many: int):
    """What is of the moment stands before the request's own, what is the span's alone after it."""
    ask = lane.accompanying([Painting()] * many)
    assert ask is not None
    names = list(ask(GET, bytes(16), bytes(8)).attributes(sketched({"url.path": "/"})))
    assert ["colour", "url.path", "number"] == names


def test_without_companions_nobody_is_asked():
    """Nor where none of them adds anything."""
    assert (None, None) == (lane.accompanying([]), lane.accompanying([Companion()]))


@pytest.mark.private_names
def test_the_figures_of_the_settings_keep_the_lane(monkeypatch: pytest.MonkeyPatch):
    """OTELFORK_SYSTEM_ATTRIBUTES costs no SDK span."""
    monkeypatch.setenv("OTELFORK_SYSTEM_ATTRIBUTES", "true")
    with exporting() as exporter:
        span, _ = serve()
        unmade = isinstance(span, RequestSpan) and span._inner is None
        forks.flush(5)
    (exported,) = exporter.get_finished_spans()
    assert (True, True) == (unmade, "system.memory.usage" in exported.attributes)


def test_a_companion_is_told_the_trace_of_the_sender():
    """A request that is of another one's trace, begun the short way."""
    painting = Painting()
    span, _ = started(painting, sender=made(5, 6, 1))
    assert ([(5).to_bytes(16, "big")], 5) == (painting.asked, span.get_span_context().trace_id)
