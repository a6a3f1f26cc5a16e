"""The short way of a request is the long one: what is exported and measured is the same, field by field."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.unit.recording import call_wsgi, environ
from tests.unit.test_lane_wiring import exporting

from otelfork import OtelMiddleware, forks
from otelfork.encoding.encoder import Encoder
from otelfork.lane import RequestSpan

TRACEPARENTS = [
    None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
    "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff\t",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", "x",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
]  # fmt: skip
REQUESTS = st.fixed_dictionaries(
    {
        "REQUEST_METHOD": st.sampled_from(["GET", "POST", "HEAD", "get", "BREW"]),
        "RAW_URI": st.sampled_from([None, "/", "/items/7?page=2", "/sp%20ace", "/\xc3\xa9", "http://a/b?c", "*", "/a?b?c"]),
        "QUERY_STRING": st.sampled_from(["", "page=2", "token=geheim&page=2", "next=http://u:p@h/", "\xff=1"]),
        "SERVER_PROTOCOL": st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2", "junk"]),
        "HTTP_HOST": st.sampled_from([None, "shop.example", "shop.example:8000", "[::1]:80", "bad host"]),
        "HTTP_USER_AGENT": st.sampled_from([None, "curl/8", "caf\xc3\xa9", "x" * 400]),
        "REMOTE_ADDR": st.sampled_from([None, "", "10.0.0.1"]),
        "REMOTE_PORT": st.sampled_from([None, "40000", 40001, "many"]),
        "HTTP_X_FORWARDED_FOR": st.sampled_from([None, "203.0.113.9", "203.0.113.9, 10.0.0.7", "unknown"]),
        "HTTP_X_FORWARDED_PROTO": st.sampled_from([None, "https", "gopher"]),
        "HTTP_FORWARDED": st.sampled_from([None, "for=192.0.2.60;proto=https;host=a.example"]),
        "HTTP_TRACEPARENT": st.sampled_from(TRACEPARENTS),
        "HTTP_TRACESTATE": st.sampled_from([None, "v=1,w=2"]),
        "HTTP_BAGGAGE": st.sampled_from([None, "user=7"]),
        "status": st.sampled_from(["200 OK", "204 No Content", "404 Not Found", "503 Busy", "odd"]),
        "touch": st.sampled_from(["", "attribute", "event", "name", "status", "link", "look", "end", "raise"]),
        "route": st.sampled_from([None, "/items/{id}"]),
    }
)  # fmt: skip


class Rule:
    """What werkzeug leaves in an environ."""

    def __init__(self, rule: str) -> None:
        self.url_rule = self
        self.rule = rule


def application(given: dict[str, Any], start_response: Any) -> list[bytes]:
    """Do what the request says."""
    span, touch = trace.get_current_span(), given["touch"]
    if given["route"]:
        given["werkzeug.request"] = Rule(given["route"])
    if touch == "attribute":
        span.set_attribute("user", baggage.get_baggage("user") or "nobody")
    elif touch == "event":
        span.add_event("seen", {"a": 1}, 7)
    elif touch == "name":
        span.update_name("own name")
    elif touch == "status":
        span.set_status(trace.StatusCode.OK)
    elif touch == "link":
        span.add_link(trace.SpanContext(1, 2, is_remote=True))
    elif touch == "look":
        dict(getattr(span, "attributes", {}))
    elif touch == "raise":
        raise LookupError("nothing here")
    start_response(given["status"], [])
    return [b"hello ", b"world"]


def served(requests: list[dict[str, Any]], *, public: bool, interpreter: pytest.MonkeyPatch) -> tuple[Any, list[type]]:
    """Serve the requests by one middleware; return what both encoders write of them, and the classes of their spans."""
    interpreter.setenv("OTELFORK_PUBLIC_NAMES_ONLY", str(public).lower())
    with exporting() as exporter:
        app = OtelMiddleware(application)
        for request in requests:
            with suppress(LookupError):
                call_wsgi(app, environ(**request))
        forks.flush(5)
        spans: list[Any] = list(exporter.get_finished_spans())
        ours = ExportTraceServiceRequest.FromString(Encoder().encode(spans))
        return [timeless(ours), timeless(encode_spans(spans))], [type(span) for span in spans]


def timeless(message: Any) -> list[Any]:
    """Return the spans of a message without what no two runs have in common."""
    found = []
    for resource in message.resource_spans:
        for scope_spans in resource.scope_spans:
            for span in scope_spans.spans:
                span.start_time_unix_nano = span.end_time_unix_nano = 0
                span.span_id = b""
                if not span.parent_span_id:
                    span.trace_id = b""
                for event in span.events:
                    event.time_unix_nano = 0
                    kept = [pair for pair in event.attributes if pair.key != "exception.stacktrace"]
                    del event.attributes[:]
                    event.attributes.extend(kept)
                attributes = sorted(span.attributes, key=lambda pair: pair.key)
                del span.attributes[:]
                span.attributes.extend(attributes)
                found.append(span)
    return found


@pytest.mark.private_names
@settings(max_examples=40)
@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_a_request_is_exported_the_same_the_short_way(requests: list[dict[str, Any]]) -> None:
    """Whatever was sent, and whatever the application does with its span: by both encoders what the SDK's own span says."""
    with pytest.MonkeyPatch.context() as interpreter:
        short, kinds = served(requests, public=False, interpreter=interpreter)
        long, _ = served(requests, public=True, interpreter=interpreter)
    assert all(issubclass(kind, RequestSpan) for kind in kinds)
    assert (long[1], long[1]) == (short[0], short[1])
