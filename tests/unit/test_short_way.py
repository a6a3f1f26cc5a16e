"""The short way of a request is the long one: what is exported is the same, field by field, over WSGI and over ASGI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.unit.recording import REQUEST, call_asgi, call_wsgi, environ, scope
from tests.unit.test_lane import CALLS
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
        "route": st.sampled_from([None, "/items/{id}"]),
        "early": CALLS,
        "late": CALLS,
        "raises": st.sampled_from([False, False, True]),
    }
)  # fmt: skip
"""What the application's environ says and what it does; `only_asgi` is there beside it."""
ONLY_ASGI = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["http", "http", "http", "websocket"]),
        "raw_path": st.booleans(),
        "root_path": st.sampled_from(["", "/shop", "/items/"]),
        "server": st.sampled_from([None, ("10.0.0.2", 8000), ["::1", 80], ("/run/app.sock", None)]),
        "again": st.sampled_from([None, "x-forwarded-for", "host", "traceparent", "baggage"]),
        "tuple": st.booleans(),
        "answer": st.sampled_from(["whole", "whole", "in parts", "with trailers", "nothing", "a part", "disconnected"]),
    }
)
PLAIN = {
    "HTTP_TRACESTATE": None, "HTTP_BAGGAGE": None,
    "only_asgi": {"type": "http", "raw_path": True, "root_path": "", "server": ("10.0.0.2", 8000), "again": None, "tuple": False},
}  # fmt: skip
USUAL = {
    "RAW_URI": "/items/7?page=2", "HTTP_USER_AGENT": "curl/8", "HTTP_HOST": "shop.example", "REMOTE_ADDR": "10.0.0.1",
    "REMOTE_PORT": 40001,
}  # fmt: skip
LIMITS = st.sampled_from(
    [
        {},
        {
            "OTEL_SPAN_LINK_COUNT_LIMIT": "1",
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "1",
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "0",
        },
        {"OTEL_SPAN_EVENT_COUNT_LIMIT": "4"},
    ]
)


class Rule:
    """What werkzeug leaves in an environ."""

    def __init__(self, rule: str) -> None:
        self.url_rule = self
        self.rule = rule


class Route:
    """What Starlette leaves in a scope."""

    def __init__(self, template: str) -> None:
        self.path_format = template


def touch(span: trace.Span, calls: list[tuple[str, tuple[Any, ...]]]) -> None:
    """Do to the span what the request says."""
    for name, arguments in calls:
        if name == "look":
            dict(getattr(span, "attributes", {}))
        elif name != "close":  # the lane's own
            getattr(span, name)(*arguments)


def received() -> list[tuple[str, tuple[Any, ...]]]:
    """Return what tells of baggage, if there is any: a span that nobody touches is to be seen, too."""
    user = baggage.get_baggage("user")
    return [] if user is None else [("set_attribute", ("user", str(user)))]


def wsgi(given: dict[str, Any], start_response: Any) -> Any:
    """Do what the request says."""
    span = trace.get_current_span()
    if given["route"]:
        given["werkzeug.request"] = Rule(given["route"])
    touch(span, [*received(), *given["early"]])
    if given["raises"]:
        raise LookupError("nothing here")
    start_response(given["status"], [])
    yield b"hello "
    yield b"world"
    touch(span, given["late"])


async def asgi(given: dict[str, Any], receive: Any, send: Any) -> None:
    """Do what the request says."""
    span, told = trace.get_current_span(), given["told"]
    if told["route"]:
        given["route"] = Route(told["route"])
    await receive()
    touch(span, [*received(), *told["early"]])
    if told["raises"]:
        raise LookupError("nothing here")
    for message in (_frames if given["type"] == "websocket" else _answer)(told):
        await send(message)
    if told["answer"] == "disconnected":
        await receive()
    touch(span, told["late"])


def _answer(told: dict[str, Any]) -> list[dict[str, Any]]:
    status, answer = told["status"][:3], told["answer"]
    start = {"type": "http.response.start", "status": int(status) if status.isdigit() else status, "headers": []}
    first = {"type": "http.response.body", "body": b"hello ", "more_body": True}
    last = {"type": "http.response.body", "body": b"world"}
    trailers = {"type": "http.response.trailers", "headers": [], "more_trailers": False}
    return {
        "nothing": [],
        "disconnected": [],
        "whole": [start, last],
        "in parts": [start, first, last],
        "a part": [start, first],
        "with trailers": [start | {"trailers": True}, first, last, trailers],
    }[answer]


def _frames(told: dict[str, Any]) -> list[dict[str, Any]]:
    accepted, frame = {"type": "websocket.accept"}, {"type": "websocket.send", "text": "hello"}
    closed = {"type": "websocket.close", "code": 1000}
    return {
        "nothing": [],
        "disconnected": [accepted, frame],
        "whole": [accepted, frame, closed],
        "in parts": [accepted, frame, frame, closed],
        "a part": [accepted, frame],
        "with trailers": [closed],
    }[told["answer"]]


def call_by_wsgi(app: Any, request: dict[str, Any]) -> None:
    """Serve a request over WSGI."""
    call_wsgi(app, environ(**{name: value for name, value in request.items() if name != "only_asgi"}))


def call_by_asgi(app: Any, request: dict[str, Any]) -> None:
    """Serve a request over ASGI: what its environ says, as a scope."""
    only = request["only_asgi"]
    headers = [
        (name[5:].lower().replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in request.items()
        if name.startswith("HTTP_") and value is not None
    ]
    headers += [pair for pair in headers if pair[0].decode() == only["again"]]
    path = (request["RAW_URI"] or "/").partition("?")[0]
    peer, port = request["REMOTE_ADDR"], request["REMOTE_PORT"]
    made = scope(
        type=only["type"],
        method=None if only["type"] == "websocket" else request["REQUEST_METHOD"],
        scheme={"websocket": "ws"}.get(only["type"], "http"),
        path=path,
        raw_path=path.encode("latin-1") if only["raw_path"] else None,
        root_path=only["root_path"],
        query_string=request["QUERY_STRING"].encode("latin-1"),
        http_version=request["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        server=only["server"],
        client=None if peer is None else (peer, port),
        headers=tuple(headers) if only["tuple"] else headers,
        told=request | only,
    )
    first = REQUEST if only["type"] == "http" else {"type": "websocket.connect"}
    call_asgi(app, made, [first, {"type": f"{only['type']}.disconnect", "code": 1001}])


CALLED: dict[str, tuple[Any, Callable[[Any, dict[str, Any]], None]]] = {
    "wsgi": (wsgi, call_by_wsgi),
    "asgi": (asgi, call_by_asgi),
}


def served(
    requests: list[dict[str, Any]], interface: str, variables: dict[str, str], interpreter: pytest.MonkeyPatch
) -> tuple[Any, list[type]]:
    """Serve the requests by one middleware; return what both encoders write of them, and the classes of their spans."""
    for name, value in variables.items():
        interpreter.setenv(name, value)
    application, serve = CALLED[interface]
    with exporting() as exporter:
        app = OtelMiddleware(application, interface=interface)
        for request in requests:
            with suppress(LookupError):
                serve(app, request)
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


def joined(request: dict[str, Any], only: dict[str, Any], *, plain: bool) -> dict[str, Any]:
    """Return what was drawn as one request; a plain one has of what clients and servers may say only what nearly all say."""
    if not plain:
        return request | {"only_asgi": only}
    usual = {name: request[name] or value for name, value in USUAL.items()}
    return request | usual | PLAIN | {"only_asgi": only | PLAIN["only_asgi"]}


@pytest.mark.private_names
@pytest.mark.parametrize("interface", list(CALLED))
@settings(max_examples=60)
@given(st.lists(st.tuples(REQUESTS, ONLY_ASGI, st.booleans()), min_size=1, max_size=6), LIMITS)
def test_a_request_is_exported_the_same_the_short_way(
    interface: str, drawn: list[tuple[dict[str, Any], dict[str, Any], bool]], limits: dict[str, str]
) -> None:
    """Whatever was sent, and whatever the application does with its span: by both encoders what the SDK's own span says."""
    requests = [joined(request, only, plain=plain) for request, only, plain in drawn]
    found = []
    for public in ("false", "true"):
        with pytest.MonkeyPatch.context() as interpreter:
            found.append(served(requests, interface, {"OTELFORK_PUBLIC_NAMES_ONLY": public, **limits}, interpreter))
    (short, kinds), (long, _) = found
    assert all(issubclass(kind, RequestSpan) for kind in kinds)
    assert (long[1], long[1]) == (short[0], short[1])


@pytest.mark.private_names
@pytest.mark.parametrize("interface", list(CALLED))
def test_what_nearly_all_send_takes_the_short_way(interface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request as browsers and servers make it is begun without the care that others need."""
    calm: dict[str, Any] = {
        "QUERY_STRING": "page=2",
        "early": [],
        "late": [],
        "raises": False,
        "route": None,
        "status": "200 OK",
    }
    said = {
        "HTTP_X_FORWARDED_PROTO": "https",
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_TRACEPARENT": TRACEPARENTS[1],
    }
    request = joined(calm | said | dict.fromkeys(USUAL), {"answer": "whole"}, plain=True)
    monkeypatch.delattr(f"otelfork.{interface}._begin_with_care")
    (ours, _), _ = served([request], interface, {}, monkeypatch)
    (span,) = ours
    assert ("GET", 8) == (span.name, len(span.parent_span_id))
