"""`http/dup`: the names before 1.21 beside the stable ones, in metrics as contrib's middlewares of 0.66 name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation import _semconv
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribASGI
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as ContribWSGI
from opentelemetry.trace import SpanKind
from tests.unit.recording import Recording, answering, body, call_asgi, call_wsgi, environ, scope, sending

from otelfork import OtelMiddleware
from otelfork.testing import capture

OLD = ("http.server.duration", "http.server.request.size", "http.server.response.size")
HEADERS = [(b"host", b"shop"), (b"user-agent", b"agent"), (b"content-length", b"5")]
REQUEST = {"type": "http.request", "body": b"12345", "more_body": False}
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]}


@pytest.fixture(autouse=True)
def dup(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The wish for both, which contrib reads once in a process."""
    stability = _semconv._OpenTelemetrySemanticConventionStability
    monkeypatch.setattr(stability, "_initialized", False)
    monkeypatch.setattr(stability, "_OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING", {})
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup")
    yield
    monkeypatch.undo()


async def reading(given: Any, receive: Any, send: Any) -> None:
    """Take the body and answer."""
    await receive()
    await sending(START, body(b"abc"))(given, receive, send)


def serve(interface: str, make: Any, recording: Recording) -> dict[str, Any]:
    """Make a request that leaves contrib's two middlewares no choice: one name, the default port; return the old metrics."""
    if interface == "wsgi":
        app = answering([b"abc"])
        wrapped = make(app) if make else recording.wsgi(app)
        sent = {
            "PATH_INFO": "/x",
            "QUERY_STRING": "a=1",
            "RAW_URI": "/x?a=1",
            "HTTP_HOST": "shop",
            "SERVER_NAME": "shop",
        }
        call_wsgi(wrapped, environ(SERVER_PORT="80", HTTP_USER_AGENT="agent", **sent))
    else:
        wrapped = make(reading) if make else recording.asgi(reading)
        given = scope(path="/x", raw_path=b"/x", query_string=b"a=1", headers=HEADERS, server=("shop", 80))
        call_asgi(wrapped, given, [REQUEST])
    return {metric.name: metric for metric in recording.collect()}


def contrib(interface: str, recording: Recording) -> Any:
    """Return contrib's middleware over the same providers."""
    kind = {"wsgi": ContribWSGI, "asgi": ContribASGI}[interface]
    return lambda app: kind(app, tracer_provider=recording.provider, meter_provider=recording.meters)


def point(metric: Any) -> Any:
    """Return the only point of a metric."""
    (found,) = metric.data.data_points
    return found


@pytest.mark.parametrize(
    ("interface", "name"),
    [
        ("wsgi", OLD[0]),
        *(("asgi", each) for each in OLD),
        *((each, "http.server.active_requests") for each in ("wsgi", "asgi")),
    ],
)
def test_the_old_metrics_are_contrib_s(interface: str, name: str) -> None:
    """Name, unit, description, buckets and attributes are those of contrib for the same request."""
    theirs_in, ours_in = Recording(), Recording()
    theirs = serve(interface, contrib(interface, theirs_in), theirs_in)[name]
    ours = serve(interface, None, ours_in)[name]
    seen, expected = dict(point(ours).attributes), dict(point(theirs).attributes)
    if interface == "asgi" and name in OLD:
        expected["net.host.name"] = "shop"  # contrib's ASGI middleware leaves it out
    buckets = [getattr(point(each), "explicit_bounds", None) for each in (theirs, ours)]
    assert (theirs.unit, expected, buckets[0]) == (ours.unit, seen, buckets[1])


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_span_has_every_old_name_that_contrib_s_has(interface: str) -> None:
    """What contrib puts on its span for the same request is on ours."""
    theirs, ours = Recording(), Recording()
    serve(interface, contrib(interface, theirs), theirs)
    serve(interface, None, ours)
    (server,) = [span for span in theirs.spans if span.kind is SpanKind.SERVER]
    missing = {key: value for key, value in (server.attributes or {}).items() if ours.attributes.get(key) != value}
    unlike = {"client.port": 50000}  # opt-in in the conventions: `network.peer.port` says it
    if interface == "asgi":
        unlike["http.target"] = "/x"  # contrib's ASGI middleware leaves out the query there, its WSGI one does not
    assert unlike == missing


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_the_figures_are_the_same(interface: str) -> None:
    """One duration and one size under both names, in milliseconds under the old one."""
    found = serve(interface, None, Recording())
    new = [point(found[name]).sum for name in ("http.server.request.duration", "http.server.response.body.size")]
    old = [point(found[name]).sum for name in ("http.server.duration", "http.server.response.size")]
    assert [pytest.approx(new[0] * 1000), new[1]] == old


def test_the_route_is_the_old_target() -> None:
    """As contrib does, the template stands in `http.target`, and never the path."""
    recording = Recording()

    async def routed(given: Any, receive: Any, send: Any) -> None:
        given["path_template"] = "/items/{item}"
        await sending(START, body())(given, receive, send)

    call_asgi(recording.asgi(routed), scope(path="/items/7", raw_path=None))
    assert "/items/{item}" == recording.points(OLD[0])[0].attributes["http.target"]


def test_without_the_wish_there_is_no_old_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is the stable set."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    assert set() == set(serve("asgi", None, Recording())) & set(OLD)


def test_a_websocket_has_no_old_metric() -> None:
    """Contrib never measured one."""
    recording = Recording()
    app = sending({"type": "websocket.accept"}, {"type": "websocket.close"})
    call_asgi(recording.asgi(app), scope(type="websocket", method=None, scheme="ws"), ())
    assert [] == recording.points(OLD[0])


def test_hosts_of_strangers_are_bounded() -> None:
    """Whatever `Host` clients send, the old attribute sets stay below the limit, and no request is left out."""
    recording = Recording(cardinality_limit=4)
    for number in range(12):
        call_wsgi(recording.wsgi(answering([b"x"])), environ(HTTP_HOST=f"host-{number}"))
    points = recording.points(OLD[0])
    actives = recording.points("http.server.active_requests")
    overflow = [each.count for each in points if dict(each.attributes) == {"otel.metric.overflow": True}]
    assert (4, 12, [9], 4, 0) == (
        len(points),
        sum(each.count for each in points),
        overflow,
        len(actives),
        sum(each.value for each in actives),
    )


def test_beside_folded_figures() -> None:
    """Where our own providers fold the new figures, the old ones are there too, and active requests are one metric."""
    with capture() as telemetry:
        app = OtelMiddleware(answering([b"abc"]))
        for _ in range(3):
            call_wsgi(app, environ(HTTP_HOST="shop"))
        found = telemetry.metrics()
    counts = [point(found[name]).count for name in ("http.server.request.duration", *OLD)]
    active = point(found["http.server.active_requests"])
    assert ([3] * 4, 0, "shop") == (counts, active.value, active.attributes["http.host"])
