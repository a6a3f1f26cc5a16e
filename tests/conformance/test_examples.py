"""The examples do what their READMEs say: one start of each, every route requested once, looked at by law."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

import pytest
from tests.conformance.rows import FASTAPI, FLASK, Row
from tests.conformance.serving import serve

from otelfork.receiver import HTTP, ReceivedSpan, Receiver

SERVERS = {
    "flask": Row(
        "flask",
        ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--threads", "4", "--preload", "app:app"),
        FLASK,
    ),
    "fastapi": Row(
        "fastapi", ("{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "app:app"), FASTAPI
    ),
}
ROUTES = ("/", "/items/7", "/report", "/broken", "/relay/7")


@dataclass(frozen=True)
class Seen:
    """What one start of an example has answered and sent."""

    statuses: dict[str, int]
    spans: list[ReceivedSpan]
    gauges: set[str]

    def server(self, path: str) -> ReceivedSpan:
        """Return the SERVER span of the one request with that path that came from outside."""
        (span,) = (it for it in self.spans if it.attributes.get("url.path") == path and not it.parent_span_id)
        return span

    def trace(self, path: str) -> list[ReceivedSpan]:
        """Return every span of the trace that the request to a path began."""
        return [span for span in self.spans if span.trace_id == self.server(path).trace_id]


@pytest.fixture(scope="module", params=SERVERS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Start an example, request every route once, stop it."""
    row = SERVERS[request.param]
    with Receiver() as receiver:
        with serve(row, receiver.environment(HTTP), tmp_path_factory.mktemp(row.name), 1) as server:
            server.wait_until_ready()
            statuses = {path: _status(server.port, "GET", path) for path in ROUTES}
            statuses["/orders/7"] = _status(server.port, "POST", "/orders/7")
            server.stop()
        receiver.wait_until_quiet()
        return Seen(statuses, receiver.spans, {point.name for point in receiver.points if point.type == "gauge"})


def _status(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_every_route_answers_as_the_readme_says(seen: Seen):
    """One route fails on purpose, one is accepted for later, the others succeed."""
    assert {**dict.fromkeys(ROUTES, 200), "/broken": 500, "/orders/7": 202} == seen.statuses


def test_an_item_is_named_by_its_route(seen: Seen):
    """The number of the item is in no span name."""
    assert {"GET /items/<int:number>", "GET /items/{number}"} & {seen.server("/items/7").name}


def test_a_streamed_report_lasts_to_its_last_line(seen: Seen):
    """Four lines with 20 ms before each: the span is not over when the first one leaves."""
    span = seen.server("/report")
    assert span.end_time - span.start_time >= 80_000_000


def test_a_failure_is_an_error_span(seen: Seen):
    """The exception becomes a 500, and the span says so."""
    span = seen.server("/broken")
    assert ("ERROR", 500) == (span.status, span.attributes["http.response.status_code"])


def test_a_relayed_call_is_one_trace_of_two_requests(seen: Seen):
    """The call is a CLIENT span of the first request, and the second request is its child."""
    trace = seen.trace("/relay/7")
    (client,) = (span for span in trace if span.kind == "CLIENT")
    (inner,) = (span for span in trace if span.kind == "SERVER" and span.parent_span_id)
    assert (client.parent_span_id, inner.parent_span_id) == (seen.server("/relay/7").span_id, client.span_id)


def test_work_after_the_response_stays_in_its_trace(seen: Seen):
    """The order is packed after the answer, below the span of the request that ordered."""
    (packed,) = (span for span in seen.spans if span.name == "pack order")
    order = seen.server("/orders/7")
    assert (packed.trace_id, packed.parent_span_id) == (order.trace_id, order.span_id)


def test_a_gauge_taken_at_import_is_observed(seen: Seen):
    """The callback of the observable instrument runs in the process that serves."""
    assert "shop.orders.waiting" in seen.gauges
