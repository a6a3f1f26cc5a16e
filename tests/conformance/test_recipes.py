"""OpenTelemetry's own recipes for forking servers, run as written around an application with our one line."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import FLASK, Row
from tests.conformance.serving import ROOT, free_port, serve
from tests.conformance.statement import DURATION, account

from otelfork.receiver import GRPC, Receiver

RECIPES = ROOT / "tests/programs/recipes"
GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3")
UWSGI = ("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3", "--enable-threads")
UWSGI += ("--die-on-term", "--need-app", "--module")
WAYS = {
    "gunicorn": ("gunicorn.conf.py", (*GUNICORN, "app:app")),
    "gunicorn --preload": ("gunicorn.conf.py", (*GUNICORN, "--preload", "app:app")),
    "uwsgi": ("postfork_project.py", (*UWSGI, "postfork_project:app")),
}
SETTINGS = {"nothing set": False, "OTEL variables set": True}


def _materialised(recipe: str, receiver: Receiver, folder: Path) -> None:
    """Write the recipe into the folder with the receiver's port in the place of 4317, and nothing else changed."""
    text = (RECIPES / recipe).read_text(encoding="utf-8")
    port = urlsplit(receiver.grpc_endpoint).port
    (folder / recipe).write_text(text.replace("localhost:4317", f"localhost:{port}"), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("with_settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("way", WAYS)
def test_a_recipe_and_the_one_line_send_each_request_once(
    way: str, with_settings: bool, receiver: Receiver, requests: int, tmp_path: Path
):
    """The recipe's provider wins, keeps its resource, and carries each request and the spans within it once."""
    recipe, command = WAYS[way]
    _materialised(recipe, receiver, tmp_path)
    row = Row(name=way, command=command, application=FLASK)
    environment = receiver.environment(GRPC) if with_settings else {}
    with serve(row, environment, tmp_path, requests, python_path=(str(tmp_path),)) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        if way == "uwsgi":
            server.wait_until_idle()  # uWSGI runs no exit code in a worker that still writes its log line
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter)
    names = {span.resource.get("service.name") for span in receiver.spans}
    actual = (found.received, found.lost, found.doubled, found.children, names)
    assert (requests, 0, 0, requests, {"api-service"}) == actual, server.output[-5000:]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["gunicorn", "uwsgi"])
def test_a_recipe_under_zero_code_doubles_nothing(way: str, receiver: Receiver, requests: int, tmp_path: Path):
    """The recipe's provider comes too late, under our name; its exporter takes the place of the default one."""
    recipe, command = WAYS[way]
    _materialised(recipe, receiver, tmp_path)
    row = Row(name=way, command=("{bin}/otelfork", "run", *command), application=FLASK)
    with serve(row, receiver.environment(GRPC), tmp_path, requests, python_path=(str(tmp_path),)) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter)
    names = {span.resource.get("service.name") for span in receiver.spans}
    actual = (found.received, found.lost, found.doubled, found.children, names)
    assert (requests, 0, 0, requests, {"conformance"}) == actual, server.output[-5000:]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", WAYS)
def test_a_recipe_carries_the_life_of_workers_too(way: str, receiver: Receiver, requests: int, tmp_path: Path):
    """With worker telemetry on, each worker has one span, from the recipe's provider, and each request still one."""
    recipe, command = WAYS[way]
    _materialised(recipe, receiver, tmp_path)
    row = Row(name=way, command=command, application=FLASK)
    environment = {**receiver.environment(GRPC), "OTELFORK_WORKERS": "true", "OTEL_GUNICORN_TRACE_WORKERS": "true"}
    with serve(row, environment, tmp_path, requests, python_path=(str(tmp_path),)) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter)
    workers = [span.attributes["worker.pid"] for span in receiver.spans if span.name.endswith(".worker")]
    names = {span.resource.get("service.name") for span in receiver.spans}
    actual = (found.received, found.lost, found.doubled, found.children, names, sorted(workers))
    pids = sorted({one.pid for one in sent})
    assert (requests, 0, 0, requests, {"api-service"}, pids) == actual, server.output[-5000:]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_postfork_project_of_the_examples_sends_each_request_once(
    receiver: Receiver, requests: int, tmp_path: Path
):
    """`uwsgi_postfork.ini` as it stands, on another port: its provider sends the spans, ours the metrics."""
    port = free_port()
    ini = (ROOT / FLASK / "uwsgi_postfork.ini").read_text(encoding="utf-8")
    (tmp_path / "uwsgi_postfork.ini").write_text(ini.replace(":8000", f":{port}"), encoding="utf-8")
    row = Row(name="uwsgi_postfork.ini", command=("{uwsgi}", "--ini", "uwsgi_postfork.ini"), application=FLASK)
    with serve(row, receiver.environment(GRPC), tmp_path, requests, port=port) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter)
    assert DURATION in {point.name for point in receiver.points}
    actual = (found.received, found.lost, found.doubled, found.children, found.histogram, found.counted)
    assert (requests, 0, 0, requests, requests, requests) == actual, server.output[-5000:]
