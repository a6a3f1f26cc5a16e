"""Each attribute of the conventions, by the same table on both edges; and the two edges agree on any request."""

from __future__ import annotations

import string
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode
from tests.unit.recording import (
    ACTIVE,
    DURATION,
    HEADERS,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    Recording,
    answering,
    body,
    call_asgi,
    call_wsgi,
    environ,
    scope,
    sending,
)

# What is sent: method, raw target, header lines, HTTP version, root path; where it is served.
SENT: dict[str, Any] = {
    "method": "GET", "target": "/", "headers": [("host", "shop.example:8080")], "version": "1.1", "root": "",
    "scheme": "http", "client": ("10.0.0.9", 4711), "server": ("10.0.0.1", 8000), "raw": True,
}  # fmt: skip


def serve(interface: str, sent: dict[str, Any], status: str = "200 OK", **options: Any) -> Recording:
    """Serve one request to a plain application through one of the edges."""
    sent = {**SENT, **sent}
    recording = Recording(**options)
    path, _, query = sent["target"].partition("?")
    if interface == "wsgi":
        call_wsgi(recording.wsgi(answering([b"hello"], status)), wsgi_environ(sent, path, query))
        return recording
    start = {"type": "http.response.start", "status": int(status[:3]), "headers": HEADERS_AS_BYTES}
    lines = [(name.encode(), value.encode("latin-1")) for name, value in sent["headers"]]
    made = scope(
        method=sent["method"],
        path=unquote(path),
        raw_path=path.encode("latin-1") if sent["raw"] else None,
        query_string=query.encode("latin-1"),
        headers=lines,
        http_version=sent["version"],
        root_path=sent["root"],
        scheme=sent["scheme"],
        client=sent["client"],
        server=sent["server"],
    )
    call_asgi(recording.asgi(sending(start, body(b"hello"))), made)
    return recording


HEADERS_AS_BYTES = [(name.encode(), value.encode()) for name, value in HEADERS]


def wsgi_environ(sent: dict[str, Any], path: str, query: str) -> dict[str, Any]:
    root = sent["root"]
    decoded = unquote_to_bytes(path).decode("latin-1")
    made: dict[str, Any] = {
        "REQUEST_METHOD": sent["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": decoded.removeprefix(root),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/" + sent["version"],
        "wsgi.url_scheme": sent["scheme"],
        "REMOTE_ADDR": sent["client"][0] if sent["client"] else "",
        "REMOTE_PORT": str(sent["client"][1]) if sent["client"] else None,
        "SERVER_NAME": sent["server"][0],
        "SERVER_PORT": "" if sent["server"][1] is None else str(sent["server"][1]),
        "RAW_URI": (path + ("?" + query if query else "")) if sent["raw"] else None,
        "HTTP_HOST": None,
    }
    for name, value in sent["headers"]:
        key = "HTTP_" + name.upper().replace("-", "_")
        made[key] = f"{made[key]},{value}" if made.get(key) else value
    return environ(**made)


ROWS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("method", {}, {"http.request.method": "GET", "http.request.method_original": None}),
    ("method-post", {"method": "POST"}, {"http.request.method": "POST"}),
    ("method-query", {"method": "QUERY"}, {"http.request.method": "QUERY"}),
    ("method-other", {"method": "BREW"}, {"http.request.method": "_OTHER", "http.request.method_original": "BREW"}),
    ("method-case", {"method": "get"}, {"http.request.method": "_OTHER", "http.request.method_original": "get"}),
    ("scheme", {"scheme": "https"}, {"url.scheme": "https", "server.port": 8080}),
    ("path", {"target": "/a/b"}, {"url.path": "/a/b", "url.query": None}),
    ("path-encoded", {"target": "/a%2Fb%20c/%C3%BC"}, {"url.path": "/a%2Fb%20c/%C3%BC"}),
    ("path-not-raw", {"target": "/a%20c/%C3%BC;x=(1)", "raw": False}, {"url.path": "/a%20c/%C3%BC;x=(1)"}),
    ("path-mounted", {"target": "/app/x", "root": "/app"}, {"url.path": "/app/x"}),
    ("path-mounted-not-raw", {"target": "/app/x%20y", "root": "/app", "raw": False}, {"url.path": "/app/x%20y"}),
    ("query", {"target": "/?a=1&b=%20x"}, {"url.query": "a=1&b=%20x"}),
    ("query-secret", {"target": "/?a=1&Token=x&sig=y"}, {"url.query": "a=1&Token=REDACTED&sig=REDACTED"}),
    ("query-no-utf8", {"target": "/?a=\xff"}, {"url.query": "a=\xff"}),
    ("host", {}, {"server.address": "shop.example", "server.port": 8080}),
    ("host-no-port", {"headers": [("host", "shop.example")]}, {"server.address": "shop.example", "server.port": 80}),
    ("host-ipv6", {"headers": [("host", "[::1]:81")]}, {"server.address": "::1", "server.port": 81}),
    ("host-missing", {"headers": []}, {"server.address": "10.0.0.1", "server.port": 8000}),
    ("host-nonsense", {"headers": [("host", "a b/c")]}, {"server.address": "10.0.0.1", "server.port": 8000}),
    ("host-userinfo", {"headers": [("host", "me:pw@shop.example")]}, {"server.address": "shop.example"}),
    ("unix-socket", {"headers": [], "server": ("/run/app.sock", None), "client": None},
     {"server.address": "/run/app.sock", "server.port": None, "client.address": None, "network.peer.address": None}),
    ("peer", {}, {"client.address": "10.0.0.9", "network.peer.address": "10.0.0.9", "network.peer.port": 4711}),
    ("forwarded", {"headers": [("host", "inner"), ("forwarded", 'for="[2001:db8::1]:99";proto=https;host=shop.example')]},
     {"client.address": "2001:db8::1", "url.scheme": "https", "server.address": "shop.example", "server.port": 443,
      "network.peer.address": "10.0.0.9"}),
    ("forwarded-lines", {"headers": [("forwarded", "for=192.0.2.1"), ("forwarded", "for=192.0.2.2;host=x")]},
     {"client.address": "192.0.2.1", "server.address": "x"}),
    ("x-forwarded", {"headers": [("host", "inner"), ("x-forwarded-for", "192.0.2.1, 10.1.1.1"),
                                 ("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.example")]},
     {"client.address": "192.0.2.1", "url.scheme": "https", "server.address": "shop.example", "server.port": 443}),
    ("x-forwarded-port", {"headers": [("host", "shop.example"), ("x-forwarded-port", "8443")]}, {"server.port": 8443}),
    ("x-forwarded-proto-nonsense", {"headers": [("x-forwarded-proto", "gopher")]}, {"url.scheme": "http"}),
    ("version-1.0", {"version": "1.0"}, {"network.protocol.version": "1.0", "network.protocol.name": None}),
    ("version-2", {"version": "2"}, {"network.protocol.version": "2"}),
    ("version-2.0", {"version": "2.0"}, {"network.protocol.version": "2"}),
    ("version-nonsense", {"version": "9.7"}, {"network.protocol.version": None}),
    ("user-agent", {"headers": [("user-agent", "curl/8")]}, {"user_agent.original": "curl/8"}),
    ("user-agent-utf8", {"headers": [("user-agent", "\xc3\xbc")]}, {"user_agent.original": "ü"}),
    ("user-agent-no-utf8", {"headers": [("user-agent", "\xff")]}, {"user_agent.original": "\xff"}),
    ("no-user-agent", {}, {"user_agent.original": None}),
    ("status", {}, {"http.response.status_code": 200, "error.type": None, "http.route": None}),
]  # fmt: skip


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(("sent", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_attributes_of_the_request(interface: str, sent: dict[str, Any], expected: dict[str, Any]) -> None:
    """What is sent becomes the attributes that the conventions name, on both edges."""
    seen = serve(interface, sent).attributes
    assert expected == {name: seen.get(name) for name in expected}


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("200 OK", None, StatusCode.UNSET),
        ("302 Found", None, StatusCode.UNSET),
        ("404 Not Found", None, StatusCode.UNSET),
        ("499 x", None, StatusCode.UNSET),
        ("500 Oops", "500", StatusCode.ERROR),
        ("503 Busy", "503", StatusCode.ERROR),
    ],
)
def test_only_5xx_is_an_error(interface: str, status: str, error: str | None, code: StatusCode) -> None:
    """The span's status is Error for 5xx alone, and the error type is the code, in both signals."""
    recording = serve(interface, {}, status)
    (point,) = recording.points(DURATION)
    seen = (
        recording.attributes.get("error.type"),
        recording.span.status.status_code,
        point.attributes.get("error.type"),
    )
    assert (error, code, error) == seen


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(("method", "name"), [("GET", "GET"), ("BREW", "HTTP"), ("get", "HTTP")])
def test_the_span_name_without_a_route(interface: str, method: str, name: str) -> None:
    """Without a route the name is the method, HTTP for an unknown one, and never the path."""
    assert name == serve(interface, {"method": method, "target": "/secret/path"}).span.name


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_metrics_have_low_cardinality_attributes_only(interface: str) -> None:
    """Nothing that a client can choose freely is an attribute of a metric."""
    recording = serve(interface, {"target": "/a?b=c", "method": "BREW"})
    shared = {
        "http.request.method": "_OTHER",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    seen = [dict(recording.points(name)[0].attributes) for name in (DURATION, REQUEST_SIZE, RESPONSE_SIZE)]
    active = dict(recording.points(ACTIVE)[0].attributes)
    assert ([shared] * 3, {"http.request.method": "_OTHER", "url.scheme": "http"}) == (seen, active)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_old_names_are_added_on_wish(interface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http/dup` doubles the attributes under their old names; the default is the stable set alone."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "database,http/dup")
    seen = serve(interface, {"target": "/x?y=1", "method": "BREW"}, "500 Oops").attributes
    old = {
        "http.method": "BREW", "http.scheme": "http", "http.target": "/x?y=1", "http.status_code": 500, "http.flavor": "1.1",
        "net.host.name": "shop.example", "net.host.port": 8080, "net.sock.peer.addr": "10.0.0.9",
    }  # fmt: skip
    assert old == {name: seen.get(name) for name in old}


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_no_old_name_by_default(interface: str) -> None:
    """Without a wish the stable names stand alone."""
    seen = serve(interface, {"target": "/x?y=1"}).attributes
    assert [name for name in seen if name.startswith(("net.", "http.method", "http.target", "http.scheme"))] == []


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_captured_headers(interface: str) -> None:
    """Headers are recorded where their names are listed, `-` kept, several lines each, secrets hidden."""
    headers = [("host", "h"), ("x-shop-id", "1"), ("x-api-key", "s3cret"), ("referer", "http://me:pw@x/?token=1&a=2")]
    seen = serve(
        interface,
        {"headers": headers},
        http_capture_headers_server_request=["x-.*", "referer"],
        http_capture_headers_server_response=["Content-Type"],
    ).attributes
    expected = {
        "http.request.header.x-shop-id": ("1",),
        "http.request.header.x-api-key": ("REDACTED",),
        "http.request.header.referer": ("http://REDACTED:REDACTED@x/?token=REDACTED&a=2",),
        "http.response.header.content-type": ("text/plain",),
    }
    assert expected == {name: value for name, value in seen.items() if ".header." in name}


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("pattern", ["/health", "^http://shop.example:8080/health$", "nothing,heal"])
def test_excluded_urls_have_neither_span_nor_metrics(interface: str, pattern: str) -> None:
    """A request whose URL matches is passed on and not recorded."""
    recording = serve(interface, {"target": "/health"}, excluded_urls=pattern)
    assert ([], [], 1) == (
        list(recording.spans),
        recording.points(DURATION),
        len(serve(interface, {"target": "/"}, excluded_urls=pattern).spans),
    )


TARGETS = st.text(alphabet=string.ascii_letters + string.digits + "/%?&=;@:+.~!*'(),[]{}\x80\xff", max_size=40)
VALUES = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)
NAMES = (
    "host",
    "user-agent",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
)


@settings(deadline=None, max_examples=150)
@given(
    method=st.sampled_from(["GET", "POST", "get", "BREW", ""]),
    target=TARGETS,
    headers=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5, unique_by=lambda pair: pair[0]),
    status=st.sampled_from(["200 OK", "404 No", "500 Oops"]),
    raw=st.booleans(),
    trusted=st.sampled_from(["all", "none", "10.0.0.0/8,192.0.2.1"]),
)
def test_both_edges_agree_and_no_input_raises(
    method: str, target: str, headers: list[tuple[str, str]], status: str, raw: bool, trusted: str
) -> None:
    """The same request through either edge gives the same attributes and points, whatever was sent."""
    sent = {"method": method, "target": "/" + target, "headers": headers, "raw": raw or "%" in target}
    wsgi, asgi = (serve(interface, sent, status, trusted_proxies=trusted) for interface in ("wsgi", "asgi"))
    assert wsgi.attributes == asgi.attributes
    assert [(wsgi.span.name, point.attributes, point.count) for point in wsgi.points(DURATION)] == [
        (asgi.span.name, point.attributes, point.count) for point in asgi.points(DURATION)
    ]
