"""The page inside the application: the middleware's own path, WSGI and ASGI."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import metrics
from tests.fresh import run

from otelfork import OtelMiddleware
from otelfork.testing import capture

PATH = "/metrics"
NAME = "http_server_request_duration_seconds_count"


def wsgi(environ, start_response):
    """Answer with a word."""
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


async def asgi(scope, receive, send):
    """Answer with a word."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def ask_wsgi(app, path, method="GET", **environ):
    """Return status and body of a WSGI application's answer."""
    answers = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.url_scheme": "http", **environ}
    body = app(environ, lambda status, headers, exc_info=None: answers.append(int(status[:3])))
    content = b"".join(body)
    getattr(body, "close", lambda: None)()
    return answers[0], content


def ask_asgi(app, path, method="GET", **scope):
    """Return status and body of an ASGI application's answer."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], **scope}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


KINDS = pytest.mark.parametrize(("application", "ask"), [(wsgi, ask_wsgi), (asgi, ask_asgi)], ids=["wsgi", "asgi"])


@KINDS
def test_the_page_is_part_of_the_application(application, ask):
    """It shows what the application's requests were; it is no request itself."""
    with capture() as telemetry:
        app = OtelMiddleware(application, metrics_path=PATH)
        ask(app, "/a")
        ask(app, PATH)
        status, body = ask(app, PATH)
        spans = len(telemetry.spans)
    shown = [line.rpartition(" ")[2] for line in body.decode().splitlines() if line.startswith(NAME)]
    assert (200, ["1.0"], 1) == (status, shown, spans)


@KINDS
def test_other_methods_are_refused(application, ask):
    """The page can be had, and nothing else done with it."""
    with capture():
        app = OtelMiddleware(application, metrics_path=PATH)
        found = ask(app, PATH, "POST")[0], ask(app, PATH, "HEAD")
    assert (405, (200, b"")) == found


@KINDS
def test_without_the_option_the_path_is_the_applications(application, ask):
    """Nothing is taken from an application that did not ask for it."""
    with capture():
        assert (200, b"hello") == ask(OtelMiddleware(application), PATH)


def test_a_mount_is_no_part_of_the_path():
    """The path is the one below the mount."""
    with capture():
        app = OtelMiddleware(asgi, metrics_path=PATH)
        found = [ask_asgi(app, path, root_path="/shop")[1] == b"hello" for path in ("/shop/metrics", "/shop/metrics/a")]
    assert [False, True] == found


def test_own_instruments_are_on_the_page():
    """Those of the API, with whatever the client accepts."""
    with capture():
        app = OtelMiddleware(wsgi, metrics_path=PATH)
        metrics.get_meter("app").create_counter("app.work", unit="{item}").add(3)
        body = ask_wsgi(app, PATH, HTTP_ACCEPT="application/openmetrics-text;version=1.0.0")[1]
    assert (True, True) == (b'app_work_total{otel_scope_name="app"} 3.0' in body, body.endswith(b"# EOF\n"))


def test_where_nothing_is_recorded_the_answer_says_so():
    """Telemetry that is switched off has no page."""
    script = """
from tests.unit.test_prometheus_inside import ask_wsgi, wsgi
out(ask_wsgi(otelfork.OtelMiddleware(wsgi, metrics_path="/metrics"), "/metrics")[0])
"""
    assert ["503"] == run(script, environment={"OTEL_SDK_DISABLED": "true"})


def test_any_worker_answers_for_all(tmp_path):
    """Whoever of a run is asked, the page is the same: siblings and the departed included."""
    script = """
from tests.unit.test_prometheus_inside import NAME, ask_wsgi, wsgi
app = otelfork.OtelMiddleware(wsgi, metrics_path="/metrics")
def total():
    lines = ask_wsgi(app, "/metrics")[1].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(NAME))
def reached(number):
    deadline = time.monotonic() + 20
    while total() < number and time.monotonic() < deadline: time.sleep(0.01)
    return total()
reading, writing = os.pipe()
pids = []
for worker in range(3):
    pid = os.fork()
    if pid == 0:
        for _ in range(worker + 1): ask_wsgi(app, "/a")
        out("worker", reached(worker + 1) >= worker + 1)
        os.write(writing, b"1")
        signal.pause()
    pids.append(pid)
for _ in pids: os.read(reading, 1)
ask_wsgi(app, "/a")
out("all", reached(7))
os.kill(pids[1], signal.SIGKILL); os.waitpid(pids[1], 0)
out("departed", total())
for pid in (pids[0], pids[2]): os.kill(pid, signal.SIGKILL)
"""
    directory = {
        "OTELFORK_RUN_DIR": str(tmp_path / "run"),
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_EXPORTER": "none",
    }
    lines = run(script, environment=directory)
    assert ["worker True"] * 3 + ["all 7.0", "departed 7.0"] == lines
