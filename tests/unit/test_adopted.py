"""Laws of a user's own OTLP exporter that encodes by our encoder: what it sends, and that it stays what it was in all else."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_module
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_module
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests.unit.recording import call_wsgi, environ, plain
from tests.unit.test_private import spans

from otelfork import OtelMiddleware
from otelfork.exporters.adopted import adopt
from otelfork.receiver import GRPC, HTTP, Receiver

pytestmark = pytest.mark.private_names
STANDARD: dict[str, Any] = {HTTP: http_module.OTLPSpanExporter, GRPC: grpc_module.OTLPSpanExporter}
METHODS = {HTTP: "export", GRPC: "_translate_data"}
PROTOCOLS = [HTTP, GRPC]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def exporter(receiver: Receiver, protocol: str, *, subclass: bool = False) -> Any:
    """Return a standard exporter as a user makes it, or one of a subclass."""
    kind = STANDARD[protocol]
    if subclass:
        kind = type("OTLPSpanExporter", (kind,), {})
    if protocol == HTTP:
        return kind(receiver.http_endpoint + "/v1/traces")
    return kind(receiver.grpc_endpoint, insecure=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_sends_what_it_would_have_sent(receiver: Receiver, protocol: str) -> None:
    """A collector gets the same spans of requests from an exporter that was taken over as from one that was not."""
    with Receiver() as other:
        provider = TracerProvider(shutdown_on_exit=False)
        for target, subclass in ((receiver, False), (other, True)):
            provider.add_span_processor(BatchSpanProcessor(exporter(target, protocol, subclass=subclass)))
        meters = MeterProvider(shutdown_on_exit=False)
        app = OtelMiddleware(plain, tracer_provider=provider, meter_provider=meters)
        for number in range(3):
            call_wsgi(app, environ(PATH_INFO=f"/{number}", QUERY_STRING="page=2", HTTP_USER_AGENT="test"))
        with provider.get_tracer("test").start_as_current_span("by hand") as span:
            span.add_event("event", {"key": ("a", "b")})
        provider.force_flush()
        provider.shutdown()
        assert (4, other.spans) == (len(receiver.spans), receiver.spans)


class Marking(SpanProcessor):
    """A processor of a user's."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        span.set_attribute("marked", True)


def test_a_processor_of_the_users_does_not_keep_an_exporter_from_it(receiver: Receiver) -> None:
    """Beside a processor that has to be called, an exporter is taken over as well, and sends what that one added."""
    mine = exporter(receiver, HTTP)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Marking())
    provider.add_span_processor(BatchSpanProcessor(mine))
    meters = MeterProvider(shutdown_on_exit=False)
    call_wsgi(OtelMiddleware(plain, tracer_provider=provider, meter_provider=meters))
    provider.shutdown()
    (span,) = receiver.spans
    assert (True, True) == ("export" in vars(mine), span.attributes["marked"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_a_standard_exporter_is_taken_over(receiver: Receiver, protocol: str) -> None:
    """An exporter of a subclass, or with a method of somebody's own, is left as it is; any other is taken over once."""
    mine, other = exporter(receiver, protocol), exporter(receiver, protocol, subclass=True)
    patched = exporter(receiver, protocol)
    setattr(patched, METHODS[protocol], print)
    found = [adopt(each) for each in (mine, mine, other, patched, object())]
    assert [True, True, False, False, False] == found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_standard_method_that_is_somebodys_own_is_left_alone(
    receiver: Receiver, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a class or a module was changed before, nothing is taken over."""
    mine = exporter(receiver, protocol)
    with monkeypatch.context() as patch:
        patch.setattr(STANDARD[protocol], METHODS[protocol], lambda *_: None)
        of_class = adopt(mine)
    monkeypatch.setitem(vars(STANDARD[protocol])[METHODS[protocol]].__globals__, "encode_spans", print)
    assert (False, False) == (of_class, adopt(mine))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_but_the_one_exporter_changes(receiver: Receiver, protocol: str) -> None:
    """Class, module, other exporters, type and signature are as they were."""
    kind, method = STANDARD[protocol], METHODS[protocol]
    before = vars(kind)[method], vars(kind)[method].__globals__["encode_spans"]
    mine, other = exporter(receiver, protocol), exporter(receiver, protocol)
    adopt(mine)
    after = vars(kind)[method], vars(kind)[method].__globals__["encode_spans"]
    same = inspect.signature(getattr(mine, method)) == inspect.signature(getattr(other, method))
    assert (before, kind, True, False) == (after, type(mine), same, method in vars(other))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_replaced_later_holds(receiver: Receiver, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that somebody puts into the module afterwards encodes; so does a method put into the class."""
    mine, kind, method = exporter(receiver, protocol), STANDARD[protocol], METHODS[protocol]
    adopt(mine)
    asked: list[int] = []

    def mark(batch: Any) -> Any:
        asked.append(len(batch))
        return encode_spans(batch)

    with monkeypatch.context() as patch:
        patch.setitem(vars(kind)[method].__globals__, "encode_spans", mark)
        mine.export(spans(2))
    monkeypatch.setattr(kind, method, lambda _, batch: asked.append(-len(batch)))
    getattr(mine, method)(spans(1))
    assert ([2, -1], 2) == (asked, len(receiver.spans))


def test_other_names_of_the_module_are_looked_up_when_they_are_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody puts in the place of another global name of the module holds as well."""
    mine = exporter(receiver, HTTP)
    adopt(mine)
    monkeypatch.setattr(http_module, "SpanExportResult", type("Results", (), {"SUCCESS": "sent", "FAILURE": "not"}))
    assert "sent" == mine.export(spans(1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_cannot_be_encoded_fails_as_it_did(receiver: Receiver, protocol: str) -> None:
    """A batch with a span that our encoder refuses goes to the standard encoder, and comes to what it comes to there."""
    batch = spans(2)
    batch[0]._end_time = "never"  # type: ignore[assignment]
    found = []
    for taken_over in (False, True):
        each = exporter(receiver, protocol)
        if taken_over:
            adopt(each)
        try:
            found.append(each.export(batch).name)
        except Exception as error:
            found.append(type(error).__name__)
    assert found[0] == found[1]


@pytest.mark.parametrize("public", ["true", "false"])
def test_public_names_alone_change_no_exporter(
    receiver: Receiver, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OTELFORK_PUBLIC_NAMES_ONLY an exporter of the user's has nothing of ours in it."""
    monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", public)
    mine = exporter(receiver, HTTP)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(mine))
    meters = MeterProvider(shutdown_on_exit=False)
    call_wsgi(OtelMiddleware(plain, tracer_provider=provider, meter_provider=meters))
    provider.shutdown()
    assert (public == "false", 1) == ("export" in vars(mine), len(receiver.spans))
