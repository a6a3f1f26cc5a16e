"""A collector that refuses, hangs or is slow costs a leaving worker OTELFORK_EXIT_TIMEOUT, and no client a request."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.leaving import ask_through
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import serve
from tests.conformance.statement import DURATION, total

from otelfork.receiver import ALWAYS, HTTP, Receiver

EXIT_SECONDS = 1.0
MARGIN = 4.0
"""What a busy machine and the servers' own leave-taking may need besides; a stop without deadline took 17 s and more."""
FAULTS = {"refuses": {"refuse": ALWAYS}, "hangs": {"hang": ALWAYS}, "answers slowly": {"delay": 5.0}}
GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3")
UVICORN = ("{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2")
GRANIAN = ("{python}", "-m", "granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2")
UWSGI = ("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3", "--enable-threads")
UWSGI += ("--die-on-term", "--need-app", "--module", "leaving_wsgi:app")
SERVERS = (
    Row("gunicorn sync", (*GUNICORN, "--max-requests", "20", "leaving_wsgi:app"), PROGRAMS, slow=False),
    Row(
        "gunicorn gthread",
        (*GUNICORN, "--worker-class", "gthread", "--threads", "4", "--max-requests", "20", "leaving_wsgi:app"),
        PROGRAMS,
    ),
    Row("gunicorn gevent", (*GUNICORN, "--worker-class", "gevent", "leaving_wsgi:app"), PROGRAMS),
    Row("gunicorn asgi", (*GUNICORN, "--worker-class", "asgi", "leaving_asgi:app"), PROGRAMS),
    Row("uvicorn --workers", (*UVICORN, "leaving_asgi:app"), PROGRAMS),
    Row("uvicorn --workers --lifespan off", (*UVICORN, "--lifespan", "off", "leaving_asgi:app"), PROGRAMS),
    Row("granian wsgi", (*GRANIAN, "--interface", "wsgi", "leaving_wsgi:app"), PROGRAMS),
    Row("granian asgi", (*GRANIAN, "--interface", "asgi", "leaving_asgi:app"), PROGRAMS),
    Row("uwsgi --max-requests", (*UWSGI, "--max-requests", "20"), PROGRAMS),
)


def cases() -> list[object]:
    """Return each server with each fault; `make test` runs one."""
    return [
        pytest.param(row, fault, id=f"{row.name}-{fault}", marks=[pytest.mark.slow] * (row.slow or fault != "hangs"))
        for row in SERVERS
        for fault in FAULTS
    ]


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("row", "fault"), cases())
def test_leaving_takes_its_deadline_and_fails_no_request(row: Row, fault: str, tmp_path: Path):
    """Every request is answered while workers leave, and the stop keeps its deadline."""
    with Receiver(**FAULTS[fault]) as receiver:  # type: ignore[arg-type]
        environment = {
            **receiver.environment(HTTP),
            "BEGUN": str(tmp_path / "begun"),
            "OTELFORK_EXIT_TIMEOUT": str(EXIT_SECONDS),
        }
        with serve(row, environment, tmp_path, 0) as server:
            server.wait_until_ready()
            asked = ask_through(server.port, 100, "/items/7", lambda: None)
            if "uwsgi" in row.name:
                server.wait_until_idle()
            server.stop()
    failed = [one.error for one in asked if one.error]
    assert ([], True) == (failed, server.stop_seconds < EXIT_SECONDS + MARGIN), server.stop_seconds


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("row", "hung"),
    [
        pytest.param(row, hung, id=f"{row.name}-{hung}", marks=[pytest.mark.slow] * (row is not SERVERS[0]))
        for row in (SERVERS[0], SERVERS[4], SERVERS[6])
        for hung in ("traces", "metrics")
    ],
)
def test_a_signal_that_hangs_costs_the_others_nothing(row: Row, hung: str, tmp_path: Path):
    """The collector never answers one signal: all of the other one's arrive by the time that the server has stopped."""
    with Receiver(hang=ALWAYS, signals=(hung,)) as receiver:
        environment = {
            **receiver.environment(HTTP),
            "BEGUN": str(tmp_path / "begun"),
            "OTELFORK_EXIT_TIMEOUT": str(EXIT_SECONDS),
        }
        with serve(row, environment, tmp_path, 0) as server:
            server.wait_until_ready()
            asked = ask_through(server.port, 100, "/items/7", lambda: None)
            server.stop()
        receiver.wait_until_quiet()
    answered = sum(not one.error for one in asked)
    spans = sum(span.kind == "SERVER" for span in receiver.spans)
    arrived = total(receiver.points, DURATION) if hung == "traces" else spans
    assert (100, 100, True) == (answered, arrived, server.stop_seconds < EXIT_SECONDS + MARGIN), server.output[-3000:]


@pytest.mark.timeout(150)
@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["patched before our import", "patched after our import"])
def test_a_gevent_worker_serves_while_its_export_hangs(options: tuple[str, ...], tmp_path: Path):
    """Our thread is a greenlet there: it waits for the collector and for its queue without holding up the hub."""
    command = ("--worker-class", "gevent", *options, "leaving_wsgi:app")
    row = Row("gunicorn gevent", (*GUNICORN[:-1], "1", *command), PROGRAMS)
    with Receiver(hang=ALWAYS) as receiver:
        environment = {
            **receiver.environment(HTTP),
            "BEGUN": str(tmp_path / "begun"),
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTELFORK_EXIT_TIMEOUT": str(EXIT_SECONDS),
        }
        with serve(row, environment, tmp_path, 0) as server:
            server.wait_until_ready()
            ask_through(server.port, 8, "/items/7", lambda: None)
            hangs = receiver.wait_for(lambda it: any(one.outcome == "hung" for one in it.requests), 20.0)
            asked = ask_through(server.port, 100, "/items/7", lambda: None)
            server.wait_until_idle()
            server.stop()
    assert (True, []) == (hangs, [one.error for one in asked if one.error]), server.output[-3000:]
