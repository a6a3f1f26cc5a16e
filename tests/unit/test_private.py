"""Laws of our encoder behind the standard exporters: what they send, how they fail, and the fallback by public names."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_module
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_module
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext
from tests.unit.exporting import soon, stream

from otelfork.encoding.encoder import Encoder, parts
from otelfork.exporters import otlp, private
from otelfork.receiver import GRPC, HTTP, Faults, Receiver
from otelfork.settings import Settings

PUBLIC = "OTELFORK_PUBLIC_NAMES_ONLY"
STANDARD = {HTTP: http_module.OTLPSpanExporter, GRPC: grpc_module.OTLPSpanExporter}


def spans(number: int = 3) -> list[ReadableSpan]:
    """Return finished spans of the SDK's own making."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test", "1")
    for index in range(number):
        with tracer.start_as_current_span(
            f"span {index}", attributes={"n": index, "s": "x", "list": [1.5, 2.5]}
        ) as span:
            span.add_event("event", {"k": True})
    return list(memory.get_finished_spans())


def exporter(receiver: Receiver, protocol: str, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Any:
    """Return the spans' exporter as the outbox builds it for this environment."""
    for name, value in {**receiver.environment(protocol), **variables}.items():
        if value:
            monkeypatch.setenv(name, value)
    return otlp.factory("traces", Settings.read())()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.mark.parametrize("compression", ["", "gzip"])
@pytest.mark.parametrize("public", ["false", "true"])
@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_both_encoders_deliver_the_same(
    receiver: Receiver, protocol: str, public: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over both protocols, compressed or not, ours or the standard's by force: each span arrives with all it has."""
    variables = {PUBLIC: public, "OTEL_EXPORTER_OTLP_COMPRESSION": compression}
    made = exporter(receiver, protocol, monkeypatch, **variables)
    result = made.export(spans())
    made.shutdown()
    found = [
        (span.name, dict(span.attributes), span.events[0].name, span.resource, span.scope.name)
        for span in receiver.spans
    ]
    expected = [
        (f"span {n}", {"n": n, "s": "x", "list": [1.5, 2.5]}, "event", {"service.name": "shop"}, "test")
        for n in range(3)
    ]
    assert ("SUCCESS", expected) == (result.name, found)


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_the_encoder_is_ours_unless_public_names_are_asked_for(
    receiver: Receiver, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our encoder writes an integer over 64 bits as its digits; the standard one leaves it out."""
    span = ReadableSpan("s", SpanContext(1, 2, is_remote=False), attributes={"n": 2**70}, resource=Resource.get_empty())
    for public in ("false", "true"):
        made = exporter(receiver, protocol, monkeypatch, **{PUBLIC: public})
        made.export([span])
        made.shutdown()
    assert [{"n": str(2**70)}, {}] == [dict(span.attributes) for span in receiver.spans]


@pytest.mark.parametrize("public", ["false", "true"])
@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_a_stream_tries_again_what_may_pass(
    receiver: Receiver, protocol: str, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request in one try; a collector that refuses once gets the batch a second time, and once only."""
    receiver.faults = Faults(refuse=1)
    made = exporter(receiver, protocol, monkeypatch, **{PUBLIC: public})
    tried = stream(made)
    for span in spans(1):
        tried.put(span)
    first = tried.drain(soon(), everything=True)
    after_one = [request.outcome for request in receiver.requests]
    second = tried.drain(soon(), everything=True)
    made.shutdown()
    assert (False, ["refused"], True, 1) == (first, after_one, second, len(receiver.spans))


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_a_failure_is_a_failure(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens, the result says so within the timeout."""
    with Receiver() as gone:
        pass
    made = exporter(gone, protocol, monkeypatch, OTEL_EXPORTER_OTLP_TIMEOUT="0.3")
    result = made.export(spans(1))
    made.shutdown()
    assert result.name == "FAILURE"


def test_a_request_over_the_standard_limit_is_not_sent(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard exporter's own checks go on working on our bytes."""
    for name, value in receiver.environment(HTTP).items():
        monkeypatch.setenv(name, value)
    made = private.over_http(http_module.OTLPSpanExporter)(max_request_size=10)
    result = made.export(spans(1))
    made.shutdown()
    assert ("FAILURE", 0) == (result.name, receiver.count_requests())


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_the_users_own_exporters_are_left_alone(
    receiver: Receiver, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard class and its module are what they were; ours is a subclass with its name."""
    module: Any = http_module if protocol == HTTP else grpc_module
    standard = STANDARD[protocol]
    before = dict(vars(standard))
    made = exporter(receiver, protocol, monkeypatch)
    made.shutdown()
    kind = type(made)
    assert module.encode_spans is encode_spans
    assert before == dict(vars(standard))
    assert (standard.__name__, standard.__module__, True) == (
        kind.__name__,
        kind.__module__,
        issubclass(kind, standard),
    )


def test_a_standard_exporter_of_another_shape_is_used_as_it_is() -> None:
    """The probe: where the methods do not use the names that ours replaces, the class comes back unchanged."""

    class Http:
        def export(self, spans: Any) -> None:
            zlib.compress(spans)

    class Grpc(grpc_module.OTLPSpanExporter):
        pass

    assert (Http, Grpc) == (private.over_http(Http), private.over_grpc(Grpc))


@pytest.mark.private_names
def test_the_reader_is_the_public_one_where_the_sdk_holds_other_things(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe: if a span's parts are not where they are expected, the public names are used."""
    found = private.reader() is not None
    monkeypatch.setattr(private, "_parts", lambda span: span.no_such_name)
    assert (True, None) == (found, private.reader())


@pytest.mark.parametrize("forced", [False, True])
def test_both_readers_give_the_same(forced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the private reader or, by force, without it, the bytes are those of the public names."""
    monkeypatch.setenv(PUBLIC, str(forced))
    made = [*spans(), ReadableSpan("by hand", SpanContext(1, 2, is_remote=False), resource=Resource.get_empty())]
    assert (forced, Encoder(parts).encode(made)) == (private.reader() is None, Encoder(private.reader()).encode(made))


def test_a_subclass_shows_what_it_wants_to_show() -> None:
    """A span whose class overrides a property (to redact, say) is read by its properties."""

    class Redacted(ReadableSpan):
        @property
        def attributes(self) -> Any:
            return {"secret": "***"}

    span = Redacted(
        "s",
        SpanContext(1, 2, is_remote=False),
        attributes={"secret": "42"},
        resource=Resource.get_empty(),
        instrumentation_scope=InstrumentationScope("x"),
    )
    assert b"***" in Encoder(private.reader()).encode([span])


@pytest.mark.private_names
def test_spans_that_cannot_be_encoded_are_said(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of the batch arrive, and the log tells how many did not, and why."""
    made = exporter(receiver, HTTP, monkeypatch)
    made.export([*spans(1), ReadableSpan("no context", None, resource=Resource.get_empty())])
    made.shutdown()
    assert (1, True) == (len(receiver.spans), "1 spans could not be encoded" in caplog.text)
