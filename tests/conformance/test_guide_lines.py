"""The command lines of a well-read guide to FastAPI and OpenTelemetry, run by a shell as they are printed.

Only the collector's port and the server's address are this test's. The lines start an application of the guide's own making, which
knows nothing of otelfork.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import serve
from tests.conformance.statement import account, expected
from tests.conformance.test_guide import CORE, shell

from otelfork.receiver import Receiver

MIDDLEWARE = """\
from fastapi import FastAPI, Request
from opentelemetry import trace
app = FastAPI()
@app.middleware("http")
async def add_trace_id_header(request: Request, call_next):
    # Get the current span's trace ID
    span = trace.get_current_span()
    trace_id = span.get_span_context().trace_id
    # Format as hex string (without leading zeros that hex() adds)
    trace_id_hex = format(trace_id, '032x')
    # Call the endpoint
    response = await call_next(request)
    # Add trace ID to response header
    response.headers["otel-trace-id"] = trace_id_hex
    return response
"""
ENDPOINT = """
import os
from opentelemetry import metrics
tracer, counter = trace.get_tracer("app"), metrics.get_meter("app").create_counter("app.work")
@app.get("/items/{number}")
async def item(number: int, request: Request):
    with tracer.start_as_current_span("work"):
        counter.add(1)
    return Response("done", headers={"x-pid": str(os.getpid())})
from fastapi import Response
"""
LINES = {
    "uvicorn": "opentelemetry-instrument uvicorn --host 0.0.0.0 --port 8000 app.main:app",
    "docker": "opentelemetry-instrument uvicorn --proxy-headers --host 0.0.0.0 --port 8000 app.main:app",
    "debug": "OTEL_PYTHON_LOG_LEVEL=DEBUG opentelemetry-instrument uvicorn app.main:app",
    "disabled": """\
OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="asyncio,click,grpc,threading,urllib"
opentelemetry-instrument uvicorn app.main:app""",
    "gunicorn": """\
opentelemetry-instrument gunicorn \\
--workers 4 \\
--worker-class uvicorn.workers.UvicornWorker \\
--bind 0.0.0.0:8000 \\
myapp.main:app""",
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "gunicorn")) for name in LINES]
)
def test_a_command_line_of_the_guide_works_as_printed(name: str, receiver: Receiver, requests: int, tmp_path: Path):
    """Every request arrives once, from an application without a line for it, and the guide's header names its trace."""
    for package in ("app", "myapp"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "main.py").write_text(MIDDLEWARE + ENDPOINT, encoding="utf-8")
    line = LINES[name].replace("0.0.0.0", "127.0.0.1").replace("8000", "{port}")
    script = shell(CORE, receiver) + line.replace("opentelemetry-instrument", "exec opentelemetry-instrument")
    (tmp_path / "guide.sh").write_text("set -a\n" + script, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ("sh", "-c", "sed -i s/{{port}}/{port}/ guide.sh; UVICORN_PORT={port}; export UVICORN_PORT; . ./guide.sh")
    row = Row(name=name, command=command, application=PROGRAMS, environment={"PATH": path})
    with serve(row, {}, tmp_path, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/items/7") as answer:
            answered = answer.headers["otel-trace-id"]
        server.stop()
    receiver.wait_until_quiet()
    spans = [span for span in receiver.spans if span.trace_id != answered]
    found = account(sent, spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter)
    more = {"histogram": requests + 1, "counted": requests + 1}
    assert expected(sent) | more == found.as_dict(), server.output[-5000:]
    assert ["SERVER", "INTERNAL"] == sorted(
        (span.kind for span in receiver.spans if span.trace_id == answered), reverse=True
    )
