"""gunicorn's timeout: a request that hangs is one span that says how its worker ended, with its stack where Python could answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.leaving import DURATION, RECOVERED, RECOVERED_COUNT, Held, ask
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import serve
from tests.conformance.statement import total

from otelfork.receiver import ALWAYS, HTTP, Receiver
from otelfork.receiver.faults import Faults
from otelfork.receiver.records import ReceivedSpan

GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "--timeout", "2")
SYNC = Row("gunicorn sync --timeout", (*GUNICORN, "leaving_wsgi:app"), PROGRAMS)
ASGI = Row("gunicorn asgi --timeout", (*GUNICORN, "--worker-class", "asgi", "leaving_asgi:app"), PROGRAMS)
UVICORN = Row(
    "gunicorn uvicorn worker --timeout",
    (*GUNICORN, "--worker-class", "uvicorn_worker.UvicornWorker", "leaving_asgi:app"),
    PROGRAMS,
)
GEVENT = Row("gunicorn gevent --timeout", (*GUNICORN, "--worker-class", "gevent", "leaving_wsgi:app"), PROGRAMS)
SECONDS = 20.0
INTERVALS = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "200"}

pytestmark = pytest.mark.timeout(120)


def server_spans(receiver: Receiver, path: str) -> list[ReceivedSpan]:
    """Return the server spans of a path."""
    return [span for span in receiver.spans if span.kind == "SERVER" and span.attributes.get("url.path") == path]


def hung(row: Row, path: str, receiver: Receiver, folder: Path, *, mends: Faults | None = None) -> list[ReceivedSpan]:
    """Let a request hang until gunicorn ends its worker; return its spans. The collector may be mended after that."""
    begun = folder / "begun"
    environment = {**receiver.environment(HTTP), "BEGUN": str(begun), **INTERVALS}
    with serve(row, environment, folder, 0) as server:
        server.wait_until_ready()
        for _ in range(8):
            ask(server.port, "/items/7")
        receiver.wait_for(lambda receiver: total(receiver.points, DURATION) == 8, SECONDS)
        Held(server.port, path, begun).result()
        ask(server.port, "/items/7")  # a successor's first use is its first request
        if mends is not None:
            receiver.faults = mends
        receiver.wait_for(lambda receiver: server_spans(receiver, path), SECONDS)
        server.wait_until_idle()  # gunicorn's gevent worker swallows a SIGTERM that reaches it while it boots
        server.stop()
    receiver.wait_until_quiet()
    return server_spans(receiver, path)


def test_a_hung_sync_request_ends_with_its_stack(receiver: Receiver, tmp_path: Path):
    """SIGABRT ends the span: error.type timeout, and the stack of where it hung as an exception event."""
    (span,) = hung(SYNC, "/hold", receiver, tmp_path)
    stack = str(span.events[0].attributes["exception.stacktrace"])
    assert ("ERROR", "timeout", None, True) == (
        span.status,
        span.attributes["error.type"],
        span.attributes.get(RECOVERED),
        "time.sleep(60)" in stack,
    )


@pytest.mark.slow
def test_a_request_that_hangs_in_c_is_recovered(receiver: Receiver, tmp_path: Path):
    """Only SIGKILL ends it: a survivor sends the span, and its time is in no histogram."""
    (span,) = hung(SYNC, "/stuck", receiver, tmp_path)
    assert ("ERROR", "unknown", True, 9, 1) == (
        span.status,
        span.attributes["error.type"],
        span.attributes.get(RECOVERED),
        total(receiver.points, DURATION),
        total(receiver.points, RECOVERED_COUNT),
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", [ASGI, UVICORN], ids=lambda row: row.name)
def test_a_blocked_loop_is_recovered_as_a_timeout(row: Row, receiver: Receiver, tmp_path: Path):
    """No handler of the server runs in a blocked loop: ours notes the cause, and a survivor sends the span."""
    (span,) = hung(row, "/stuck", receiver, tmp_path)
    assert ("ERROR", "timeout", True) == (span.status, span.attributes["error.type"], span.attributes.get(RECOVERED))


@pytest.mark.slow
def test_a_hung_hub_is_seen(receiver: Receiver, tmp_path: Path):
    """gevent's worker hangs in C with all its greenlets: the request is recovered."""
    (span,) = hung(GEVENT, "/stuck", receiver, tmp_path)
    assert ("ERROR", True) == (span.status, span.attributes.get(RECOVERED))


@pytest.mark.slow
def test_a_timeout_under_a_dead_collector_is_sent_later(tmp_path: Path):
    """What the flush of 0.7 s could not send stays on the scoreboard: a survivor sends it once the collector is back."""
    with Receiver(hang=ALWAYS) as receiver:
        (span,) = hung(SYNC, "/hold", receiver, tmp_path, mends=Faults())
    assert ("ERROR", "timeout", True) == (span.status, span.attributes["error.type"], span.attributes.get(RECOVERED))
