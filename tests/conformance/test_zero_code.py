"""Without a line of code, by the command that people use: `otelfork verify` accounts for every request.

The applications know nothing of otelfork. `rows.ZERO` has the same servers under the statement of all rows.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import ROOT, serve
from tests.conformance.statement import account, expected

from otelfork.cli import verify
from otelfork.receiver import HTTP, Receiver

BIN = Path(sys.executable).parent
RUN = (str(BIN / "otelfork"), "run")
INSTRUMENT = (str(BIN / "opentelemetry-instrument"),)
COMMANDS = {
    "gunicorn": (*RUN, "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3", "plain_wsgi:app"),
    "uvicorn": (*RUN, "uvicorn", "--port", "{port}", "--workers", "2", "plain_asgi:app"),
    "uwsgi": (
        *(*RUN, "uwsgi", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3", "--enable-threads"),
        *("--die-on-term", "--need-app", "--module", "plain_wsgi:app"),
    ),
    "uwsgi ini": (*RUN, "uwsgi", "--http-socket", "127.0.0.1:{port}", "--ini", "uwsgi.ini"),
    "hypercorn": (*RUN, "hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "plain_asgi:app"),
    "granian": (*RUN, "granian", "--port", "{port}", "--workers", "2", "--interface", "asgi", "plain_asgi:app"),
    "instrument gunicorn": (
        *INSTRUMENT,
        str(BIN / "gunicorn"),
        "--bind",
        "127.0.0.1:{port}",
        "--workers",
        "3",
        "plain_wsgi:app",
    ),
}
INI = """\
[uwsgi]
wsgi-file = {folder}/plain_wsgi.py
callable = app
master = true
processes = 3
enable-threads = true
die-on-term = true
need-app = true
lazy-apps = true
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", COMMANDS)
def test_verify_accounts_for_every_request(name: str, requests: int, tmp_path: Path):
    """Nothing is lost, nothing is doubled, and every worker counted what it answered."""
    folder = ROOT / PROGRAMS
    (tmp_path / "uwsgi.ini").write_text(INI.format(folder=folder), encoding="utf-8")
    found = verify.run(
        COMMANDS[name],
        url="http://127.0.0.1:{port}/items/7",
        requests=requests,
        drain=1.0 if "uwsgi" in name else 0.0,
        cwd=tmp_path,
        environment={
            "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")])),
            "OTELFORK_RUN_DIR": str(tmp_path / "run"),
        },
    )
    assert (True, requests, 0, 0) == (found.ok, found.received, found.lost, found.duplicated), found.server_output


FLASK = """
from flask import Flask
app = application = Flask(__name__)
@app.get("/items/<int:number>")
def item(number): return "done"
"""
NAMES = {
    "uvicorn": (("{bin}/uvicorn", "--port", "{port}", "plain_asgi:app"), "GET /items/{number}"),
    "uvicorn wsgi": (("{bin}/uvicorn", "--port", "{port}", "--interface", "wsgi", "plain_flask:app"), ""),
    "hypercorn wsgi": (("{bin}/hypercorn", "--bind", "127.0.0.1:{port}", "wsgi:plain_flask:app"), ""),
    "granian wsgi": (("{bin}/granian", "--port", "{port}", "--interface", "wsgi", "plain_flask:app"), ""),
    "uwsgi file": (
        ("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--die-on-term", "--wsgi-file", "plain_flask.py"),
        "",
    ),
    "gunicorn": (("{bin}/gunicorn", "--bind", "127.0.0.1:{port}", "plain_flask:app"), "gunicorn.request"),
}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_a_request_is_named_by_its_route(name: str, receiver: Receiver, tmp_path: Path):
    """What is wrapped is the application itself, so its framework's route is known; gunicorn's instrumentor has its own name."""
    (tmp_path / "plain_flask.py").write_text(FLASK, encoding="utf-8")
    command, expected_name = NAMES[name]
    row = Row(name=name, command=("{bin}/otelfork", "run", *command), application=PROGRAMS)
    with serve(row, receiver.environment(HTTP), tmp_path, 1, python_path=(str(tmp_path),)) as server:
        server.wait_until_ready()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/items/7"):
            pass
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    found = [(span.name, span.attributes.get("http.route")) for span in receiver.spans if span.kind == "SERVER"]
    route = "/items/{number}" if name == "uvicorn" else "/items/<int:number>"
    assert [(expected_name or f"GET {route}", route)] == found, server.output


RELOADING = Row(
    name="otelfork run uvicorn --reload",
    command=("{bin}/otelfork", "run", "{bin}/uvicorn", "--port", "{port}", "--reload", "copied:app"),
    application=PROGRAMS,
)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_reloaded_application_is_traced_too(receiver: Receiver, requests: int, tmp_path: Path):
    """Each process that `--reload` starts has it by inheritance; the one before leaves nothing behind."""
    source = (ROOT / PROGRAMS / "plain_asgi.py").read_text(encoding="utf-8")
    (tmp_path / "copied.py").write_text(source, encoding="utf-8")
    with serve(RELOADING, receiver.environment(HTTP), tmp_path, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests // 2)
        (tmp_path / "copied.py").write_text(source + "# changed\n", encoding="utf-8")
        while len({one.pid for one in sent}) < 2:  # the test's own timeout ends it
            server.wait_until_ready()
            sent += drive(server, 1)
        sent += drive(server, requests // 2)
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span="work", work_counter="app.work")
    assert expected(sent) == found.as_dict(), server.output[-5000:]


CONTRIB = """
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from plain_wsgi import app as plain
app = OpenTelemetryMiddleware(plain)
"""
WITH_CONTRIB = Row(
    name="otelfork run gunicorn, contrib inside",
    command=("{bin}/otelfork", "run", "{bin}/gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "contrib:app"),
    application=PROGRAMS,
    environment={"OTEL_SEMCONV_STABILITY_OPT_IN": "http"},
)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_another_instrumentation_inside_counts_nothing_twice(receiver: Receiver, requests: int, tmp_path: Path):
    """Contrib's middleware in the application makes no second SERVER span and no second measurement."""
    (tmp_path / "contrib.py").write_text(CONTRIB, encoding="utf-8")
    with serve(WITH_CONTRIB, receiver.environment(HTTP), tmp_path, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        server.stop()
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span="none", work_counter="app.work")
    assert {**expected(sent), "children": 0} == found.as_dict(), server.output[-5000:]
