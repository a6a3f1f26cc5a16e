"""The Jaeger exporter: what it sends decodes, by the generated classes of the old package, to the spans that went in."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from tests.collecting import collecting
from tests.jaegeroracle import decode, ids, tags

from otelfork.exporters import jaeger
from otelfork.exporters.jaeger import JaegerExporter, structs, translate
from otelfork.settings import Environment, Settings, SettingsError
from otelfork.settings.jaeger import JaegerSettings

TRACE, SPAN, PARENT = 0xF123456789ABCDEF0123456789ABCDEF, 0xFEDCBA9876543210, 0x8000000000000001
START = 1_700_000_000_123_456_789
FAILURE, SUCCESS = SpanExportResult.FAILURE, SpanExportResult.SUCCESS


def context(span_id: int = SPAN, flags: int = 1, state: TraceState | None = None) -> SpanContext:
    return SpanContext(TRACE, span_id, is_remote=False, trace_flags=TraceFlags(flags), trace_state=state)


def span(attributes: Mapping[str, Any] | None = None, **changes: Any) -> ReadableSpan:
    given: dict[str, Any] = {
        "name": "GET /items",
        "context": context(),
        "resource": Resource({"service.name": "shop", "process.pid": 7}),
        "attributes": attributes,
        "start_time": START,
        "end_time": START + 1_500_000,
        **changes,
    }
    return ReadableSpan(**given)


def sent(*spans: ReadableSpan) -> Any:
    (batch,) = translate.batches(spans)
    return decode(structs.encode(batch))


def settings_for(url: str, **changes: Any) -> JaegerSettings:
    return JaegerSettings(**{"endpoint": url, "timeout": 5.0, **changes})


def test_the_process_is_told_from_the_resource():
    """The service name is the process's, every other resource attribute one of its tags."""
    process = sent(span()).process
    assert ("shop", {"process.pid": 7}) == (process.serviceName, tags(process.tags))


def test_a_span_keeps_its_ids_names_and_times():
    """Unsigned ids of 64 bits survive Thrift's signed integers; times are microseconds."""
    (found,) = sent(span(parent=context(PARENT))).spans
    actual = (*ids(found), found.parentSpanId & (1 << 64) - 1, found.operationName, found.startTime, found.duration)
    assert (f"{TRACE:032x}", f"{SPAN:016x}", PARENT, "GET /items", (START + 500) // 1000, 1500) == actual


@pytest.mark.parametrize(("flags", "expected"), [(0, 0), (1, 1), (3, 1), (2, 0)])
def test_the_flags_are_masked(flags: int, expected: int):
    """W3C's random-trace-id bit is not sent as Jaeger's debug flag."""
    (found,) = sent(span(context=context(flags=flags))).spans
    assert expected == found.flags


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("grüße", "grüße"),
        ("\ud800", "?"),
        (True, True),
        (1, 1),
        (-(1 << 63), -(1 << 63)),
        (1 << 63, str(1 << 63)),
        (1 << 100, str(1 << 100)),
        (0.5, 0.5),
        (b"\x00\xff", b"\x00\xff"),
        (None, ""),
        (("a", 1), '["a", 1]'),
        (
            {"a": {"b": [b"x", None, float("inf"), 1 << 70]}},
            '{"a": {"b": ["eA==", null, "Infinity", 1180591620717411303424]}}',
        ),
    ],
)
def test_every_kind_of_value_arrives(value: object, expected: object):
    """Jaeger's own types where it has one, else text: lists and maps as JSON, integers over 64 bits whole."""
    batch = structs.Batch(
        process=structs.Process(serviceName="x"),
        spans=[structs.Span(traceIdLow=1, traceIdHigh=1, spanId=1, parentSpanId=0, operationName="x", flags=1, startTime=0,
                            duration=0, tags=translate._tags({"key": value}))],
    )  # fmt: skip
    (found,) = decode(structs.encode(batch)).spans
    assert {"key": expected} == tags(found.tags)


def test_kind_status_scope_and_state_are_tags():
    """What Jaeger has no field for is told in the tags of the specification."""
    (found,) = sent(
        span(
            {"a": 1},
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, "broken"),
            instrumentation_scope=InstrumentationScope("lib", "1.2"),
            context=context(state=TraceState([("vendor", "x")])),
        )
    ).spans
    expected = {
        "a": 1,
        "span.kind": "server",
        "otel.status_code": "ERROR",
        "otel.status_description": "broken",
        "error": True,
        "otel.scope.name": "lib",
        "otel.library.name": "lib",
        "otel.scope.version": "1.2",
        "otel.library.version": "1.2",
        "w3c.tracestate": "vendor=x",
    }
    assert expected == tags(found.tags)


def test_an_event_is_a_log():
    """Its name is the field `event`, its attributes the others."""
    (found,) = sent(span(events=[Event("slow", {"seconds": 2.5}, START + 1000)])).spans
    (log,) = found.logs
    assert ((START + 1500) // 1000, {"event": "slow", "seconds": 2.5}) == (log.timestamp, tags(log.fields))


def test_a_link_is_a_reference_and_keeps_its_attributes():
    """The attributes, which a reference has no place for, are a log at the span's start."""
    (found,) = sent(span(links=[Link(context(PARENT), {"why": "batch"})])).spans
    (reference,), (log,) = found.references, found.logs
    expected = {"event": "link", "trace_id": f"{TRACE:032x}", "span_id": f"{PARENT:016x}", "why": "batch"}
    assert (1, PARENT, expected) == (reference.refType, reference.spanId & (1 << 64) - 1, tags(log.fields))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(attributes=st.dictionaries(st.text(max_size=5), _values, max_size=4), name=st.text(max_size=10))
def test_whatever_a_span_holds_it_decodes(attributes: dict[str, Any], name: str):
    """No attribute and no name makes a batch unreadable."""
    (found,) = sent(span(attributes, name=name)).spans
    assert len({translate._clean(key) for key in attributes}) == len(tags(found.tags))


def test_a_span_that_cannot_be_translated_costs_no_other(caplog: pytest.LogCaptureFixture):
    """It is logged and left out; the export says that not all was delivered."""
    with collecting() as collector:
        exporter = JaegerExporter(settings_for(collector.url("/api/traces")))
        result = exporter.export([span(context=None), span()])
        exporter.shutdown()
    assert (FAILURE, 1) == (result, len(decode(collector.posted[0].body).spans))


def test_user_and_password_are_sent():
    """As HTTP basic authentication, to the endpoint as it stands."""
    with collecting() as collector:
        exporter = JaegerExporter(settings_for(collector.url("/api/traces"), user="u", password="p"))
        result = exporter.export([span()])
        exporter.shutdown()
    (posted,) = collector.posted
    actual = (result, posted.path, posted.headers["authorization"], posted.headers["content-type"])
    assert (SUCCESS, "/api/traces", "Basic dTpw", "application/vnd.apache.thrift.binary") == actual


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_an_answer_that_is_no_success_is_a_failure(status: int, caplog: pytest.LogCaptureFixture):
    """It is sent once, and the log names the status and the endpoint."""
    with collecting(status) as collector:
        exporter = JaegerExporter(settings_for(collector.url("/api/traces")))
        result = exporter.export([span()])
        exporter.shutdown()
    assert (FAILURE, 1, True) == (result, len(collector.posted), f"HTTP {status}" in caplog.text)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(status: int):
    """The same batch is sent until the collector takes it."""
    with collecting(status, 202, Retry_After="0") as collector:
        exporter = JaegerExporter(settings_for(collector.url("/api/traces")))
        result = exporter.export([span()])
        exporter.shutdown()
    first, second = collector.posted
    assert (SUCCESS, first.body) == (result, second.body)


def test_retries_end_with_the_timeout(caplog: pytest.LogCaptureFixture):
    """A refusal that asks for more patience than there is fails at once."""
    with collecting(503, Retry_After="60") as collector:
        exporter = JaegerExporter(settings_for(collector.url("/api/traces"), timeout=1.0))
        result = exporter.export([span()])
        exporter.shutdown()
    assert (FAILURE, 1) == (result, len(collector.posted))


def test_an_unreachable_collector_is_a_failure(caplog: pytest.LogCaptureFixture):
    """Nothing is raised."""
    exporter = JaegerExporter(settings_for("http://127.0.0.1:9/api/traces", timeout=0.2))
    assert exporter.export([span()]) is FAILURE
    exporter.shutdown()


def test_threads_may_share_an_exporter():
    """Every batch of every thread arrives whole."""
    with collecting() as collector:
        exporter = JaegerExporter(settings_for(collector.url("/api/traces")))
        threads = [
            threading.Thread(target=lambda n=n: [exporter.export([span({"n": n})] * 3) for _ in range(10)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        exporter.shutdown()
    seen = [tags(found.tags)["n"] for posted in collector.posted for found in decode(posted.body).spans]
    assert sorted([0, 1, 2, 3] * 30) == sorted(seen)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_uses_a_connection_of_its_own():
    """Parent and child send through one exporter object; each batch arrives whole."""
    with collecting() as collector:
        exporter = JaegerExporter(settings_for(collector.url("/api/traces")))
        exporter.export([span({"who": "before"})])
        pid = os.fork()
        if pid == 0:
            os._exit(0 if exporter.export([span({"who": "child"})]) is SUCCESS else 1)
        exporter.export([span({"who": "parent"})])
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        exporter.shutdown()
    who = {tags(decode(posted.body).spans[0].tags)["who"] for posted in collector.posted}
    assert (0, {"before", "child", "parent"}) == (status, who)


def test_the_variables_are_read():
    """Endpoint, user and password by their standard names."""
    env = Environment(
        {
            "OTEL_EXPORTER_JAEGER_ENDPOINT": "http://jaeger:14268/api/traces",
            "OTEL_EXPORTER_JAEGER_USER": "u",
            "OTEL_EXPORTER_JAEGER_PASSWORD": "p",
        }
    )
    assert JaegerSettings("http://jaeger:14268/api/traces", "u", "p", 10.0) == JaegerSettings.read(env)


def test_an_endpoint_that_is_no_address_is_an_error():
    """It is told before anything is sent."""
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_JAEGER_ENDPOINT='jaeger'"):
        JaegerSettings.read(Environment({"OTEL_EXPORTER_JAEGER_ENDPOINT": "jaeger"}))


def test_jaeger_takes_no_metrics():
    """OTEL_METRICS_EXPORTER=jaeger is a wrong setting."""
    with pytest.raises(SettingsError, match="OTEL_METRICS_EXPORTER"):
        jaeger.factory("metrics", Settings.read(Environment({})))


def test_the_password_is_not_printed():
    """Neither in logs nor in a debugger."""
    assert "secret" not in repr(JaegerSettings(password="secret"))
