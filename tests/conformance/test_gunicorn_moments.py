"""Moments of an instrumented gunicorn: a reload, an instrumentation that comes late or goes, a recipe beside it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import Server, serve
from tests.conformance.statement import account, total

from otelfork.receiver import HTTP, Receiver

REQUESTS = 60
GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2")
CONF = ("--config", "{programs}/instrumenting/gunicorn.conf.py")
RECIPE = ("--config", "{programs}/instrumenting/recipe.conf.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def reload(server: Server) -> None:
    """Have gunicorn replace its workers; wait until the old ones are gone and the new ones are ready."""
    before = {child.pid for child in server.descendants()}
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while before & {child.pid for child in server.descendants()} and time.monotonic() < deadline:
        time.sleep(0.05)
    server.wait_until_idle()


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_a_reload_changes_nothing(preload: tuple[str, ...], receiver: Receiver, tmp_path: Path):
    """gunicorn reads its configuration file once more: the new workers are instrumented once, and nothing is lost."""
    row = Row("reload", (*GUNICORN, *CONF, *preload, "gunicorn_plain:app"), PROGRAMS)
    with serve(row, receiver.environment(HTTP), tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        sent = drive(server, REQUESTS)
        reload(server)
        sent += drive(server, REQUESTS)
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span="", work_counter="gunicorn.requests")
    workers = sum(span.name == "gunicorn.worker" for span in receiver.spans)
    figures = (found.received, found.lost, found.doubled, found.counted, workers)
    assert (2 * REQUESTS, 0, 0, 2 * REQUESTS, 4) == figures


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_the_post_fork_recipe_carries_the_spans(preload: tuple[str, ...], receiver: Receiver, tmp_path: Path):
    """A provider that the user sets in `post_fork` is used as it is, and nothing is doubled."""
    row = Row("recipe", (*GUNICORN, *RECIPE, *preload, "gunicorn_plain:app"), PROGRAMS)
    with serve(row, receiver.environment(HTTP), tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        sent = drive(server, REQUESTS)
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span="", work_counter="gunicorn.requests")
    names = {(span.name, span.resource["service.name"]) for span in receiver.spans}
    assert {("gunicorn.request", "api-service"), ("gunicorn.worker", "api-service")} == names
    assert (REQUESTS, 0, 0, REQUESTS) == (found.received, found.lost, found.doubled, found.counted)


def test_a_variable_of_gunicorns_own_environment_counts(receiver: Receiver, tmp_path: Path):
    """`--env` and `raw_env` are set after the configuration file was read, and before telemetry is set up."""
    row = Row("raw_env", (*GUNICORN, *CONF, "--env", "OTEL_SERVICE_NAME=shop", "gunicorn_plain:app"), PROGRAMS)
    with serve(row, receiver.environment(HTTP), tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        drive(server, REQUESTS)
        server.stop()
    receiver.wait_until_quiet()
    assert {"shop"} == {span.resource["service.name"] for span in receiver.spans}


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_instrumenting_late_and_taking_it_off(worker: str, receiver: Receiver, tmp_path: Path):
    """A worker that runs already is instrumented from the next request on, and not any more after `uninstrument()`."""
    command = (*GUNICORN[:-1], "1", "--worker-class", worker, "gunicorn_late:app")
    with serve(Row("late", command, PROGRAMS), receiver.environment(HTTP), tmp_path, 10) as server:
        server.wait_until_ready()
        sent = [one for path in ("/1", "/2", "/3", "/4", "/off", "/6") for one in drive(server, 1, path)]
        server.stop()
        output = server.output
    receiver.wait_until_quiet()
    servers = [span.attributes["url.path"] for span in receiver.spans if span.kind == "SERVER"]
    assert (["/3", "/4", "/off"], 6) == (servers, len(sent)), output[-3000:]
    assert (3, 1) == (
        total(receiver.points, "gunicorn.requests"),
        sum(span.name == "gunicorn.worker" for span in receiver.spans),
    )
