"""GunicornInstrumentor on real gunicorn, newest and oldest: each line of its reference, received by OTLP and compared by name."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.conformance.driving import Sent, drive
from tests.conformance.rows import FLASK, PROGRAMS, Row
from tests.conformance.serving import serve
from tests.conformance.statement import DURATION, account, expected, total

from otelfork.receiver import HTTP, Receiver

OLDEST = "21.2.0"
OPTIONS = ("--bind", "127.0.0.1:{port}", "--workers", "2")
CONF = ("--config", "{programs}/instrumenting/gunicorn.conf.py")
GUNICORN = ("{python}", "-m", "gunicorn", *OPTIONS)
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
WAYS = {
    "in the application's module": (*GUNICORN, "reference.basic:{app}"),
    "in the application's module, preloaded": (*GUNICORN, "--preload", "reference.basic:{app}"),
    "in gunicorn.conf.py": (*GUNICORN, *CONF, "gunicorn_plain:{app}"),
    "in gunicorn.conf.py, preloaded": (*GUNICORN, *CONF, "--preload", "gunicorn_plain:{app}"),
    "before gunicorn starts": ("{python}", "{programs}/gunicorn_before.py", *OPTIONS, "gunicorn_plain:{app}"),
    "by opentelemetry-instrument": (INSTRUMENT, *GUNICORN, "gunicorn_plain:{app}"),
}
CLASSES = {
    "sync": "app",
    "gthread --threads 2": "app",
    "gevent": "app",
    "asgi": "asgi_app",
    "uvicorn_worker.UvicornWorker": "asgi_app",
}
MAIN = ("sync", "in the application's module")
SYSTEM_METRICS_OFF = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "system_metrics"}
TARGET = "/items/7"
DOCUMENTED = {"http.method": "GET", "http.target": TARGET, "http.status_code": 200}


def row(worker: str, way: str) -> Row:
    """Return the row of a worker class that is instrumented in some way."""
    command = [part.replace("{app}", CLASSES[worker]) for part in WAYS[way]]
    command[-1:-1] = ["--worker-class", *worker.split()]
    return Row(name=f"gunicorn {worker} {way}", command=tuple(command), application=PROGRAMS)


def cases() -> list[object]:
    """Return every worker class with every way; one of them is quick enough for every run of the tests."""
    return [
        pytest.param(worker, way, id=f"{worker}-{way}", marks=[pytest.mark.slow] * ((worker, way) != MAIN))
        for worker in CLASSES
        for way in WAYS
    ]


@pytest.fixture(scope="session")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install the oldest gunicorn that is supported into a folder of its own; return the folder."""
    folder = tmp_path_factory.mktemp("oldest")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder))
    subprocess.run([*pip, f"gunicorn=={OLDEST}"], check=True)
    return str(folder)


def serve_and_receive(
    one: Row, receiver: Receiver, requests: int, folder: Path, *, path: str = TARGET, front: tuple[str, ...] = ()
) -> list[Sent]:
    """Start a server, make requests, stop it, and wait until all has arrived."""
    environment = {**receiver.environment(HTTP), **SYSTEM_METRICS_OFF}
    with serve(one, environment, folder, requests, python_path=front) as server:
        server.wait_until_ready()
        sent = drive(server, requests, path)
        server.stop()
        output = server.output
    receiver.wait_until_quiet()
    assert "Traceback" not in output, output[-5000:]
    return sent


def series(receiver: Receiver, name: str) -> set[tuple[str, str, tuple[tuple[str, object], ...]]]:
    """Return what a metric's points have in common: type, unit and attributes."""
    return {
        (point.type, point.unit, tuple(sorted(point.attributes.items())))
        for point in receiver.points
        if point.name == name
    }


def requests_seen(receiver: Receiver, sent: Sequence[Sent]) -> tuple[object, ...]:
    """Return what was received of the requests: the account, the names, the documented attributes, the events."""
    spans = [span for span in receiver.spans if span.kind == "SERVER"]
    found = account(sent, spans, receiver.points, work_span="", work_counter="")
    figures = (found.received, found.lost, found.doubled, found.strangers)
    attributes = {tuple(sorted((name, span.attributes.get(name)) for name in DOCUMENTED)) for span in spans}
    events = {tuple(event.name for event in span.events) for span in spans}
    times = all((span.start_time, span.end_time) == tuple(event.time for event in span.events) for span in spans)
    return figures, {span.name for span in spans}, attributes, events, times


def requests_expected(number: int) -> tuple[object, ...]:
    """Return what has to be received of so many requests."""
    figures = (number, 0, 0, 0)
    return (
        figures,
        {"gunicorn.request"},
        {tuple(sorted(DOCUMENTED.items()))},
        {("request.start", "request.completion")},
        True,
    )


def workers_seen(receiver: Receiver) -> tuple[object, ...]:
    """Return the workers' spans: pids, whether their ids differ, and their events."""
    spans = [span for span in receiver.spans if span.name == "gunicorn.worker"]
    pids = {span.attributes["worker.pid"] for span in spans}
    ids = {span.attributes["worker.id"] for span in spans}
    own = all(span.attributes["worker.pid"] == span.resource["process.pid"] for span in spans)
    return len(spans), len(pids), len(ids), own, {tuple(event.name for event in span.events) for span in spans}


def check(receiver: Receiver, sent: Sequence[Sent]) -> None:
    """Compare what was received with the reference, name by name."""
    number = len(sent)
    attributes = tuple(sorted(DOCUMENTED.items()))
    assert requests_expected(number) == requests_seen(receiver, sent)
    assert {("sum", "{request}", attributes)} == series(receiver, "gunicorn.requests")
    assert {("histogram", "s", attributes)} == series(receiver, "gunicorn.request.duration")
    counted = [total(receiver.points, name) for name in ("gunicorn.requests", "gunicorn.request.duration", DURATION)]
    assert [number] * 3 == counted
    assert (2, 2, 2, True, {("worker.start", "worker.shutdown")}) == workers_seen(receiver)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("worker", "way"), cases())
def test_every_line_of_the_reference_arrives(worker: str, way: str, receiver: Receiver, requests: int, tmp_path: Path):
    """Spans, events, counter, histogram and workers under the documented names, each request once."""
    check(receiver, serve_and_receive(row(worker, way), receiver, requests, tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("worker", [worker for worker in CLASSES if worker != "asgi"])
def test_every_line_of_the_reference_arrives_from_the_oldest_gunicorn(
    worker: str, way: str, oldest: str, receiver: Receiver, requests: int, tmp_path: Path
):
    """The same with gunicorn 21, which has no asgi worker of its own."""
    check(receiver, serve_and_receive(row(worker, way), receiver, requests, tmp_path, front=(oldest,)))


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_a_middleware_inside_adds_its_route_and_renames_nothing(
    preload: tuple[str, ...], receiver: Receiver, requests: int, tmp_path: Path
):
    """An application with our one line under the instrumentor: one span a request, its route in span and metrics."""
    one = Row(name="inside", command=(*GUNICORN, *CONF, *preload, "app:app"), application=FLASK)
    sent = serve_and_receive(one, receiver, requests, tmp_path)
    spans = [span for span in receiver.spans if span.kind == "SERVER"]
    found = account(sent, receiver.spans, receiver.points, work_span=one.work_span, work_counter=one.work_counter)
    (route,) = {span.attributes["http.route"] for span in spans}
    attributes = tuple(sorted({**DOCUMENTED, "http.target": route}.items()))
    assert expected(sent) == found.as_dict()
    assert ({"gunicorn.request"}, {TARGET}) == ({s.name for s in spans}, {s.attributes["http.target"] for s in spans})
    assert {("sum", "{request}", attributes)} == series(receiver, "gunicorn.requests")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_status_is_an_attribute_and_a_series(receiver: Receiver, tmp_path: Path):
    """A 500 is counted as one, in the span and in the metrics."""
    one = row(*MAIN)
    with serve(one, receiver.environment(HTTP), tmp_path, 5) as server:
        server.wait_until_ready()
        for _ in range(5):
            with pytest.raises(AssertionError, match="answered with 500"):
                drive(server, 1, "/broken")
        server.stop()
    receiver.wait_until_quiet()
    spans = Counter(span.attributes["http.status_code"] for span in receiver.spans if span.kind == "SERVER")
    ((_, _, attributes),) = series(receiver, "gunicorn.requests")
    assert ({500: 5}, 500, "/broken") == (spans, dict(attributes)["http.status_code"], dict(attributes)["http.target"])


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("conf", [(), CONF], ids=["", "gunicorn.conf.py"])
def test_the_custom_configuration_of_the_reference(
    conf: tuple[str, ...], preload: tuple[str, ...], receiver: Receiver, requests: int, tmp_path: Path
):
    """The user's providers carry every request, with their own resource; the service's name is the one set in code."""
    one = Row(name="custom", command=(*GUNICORN, *conf, *preload, "reference.custom:app"), application=PROGRAMS)
    sent = serve_and_receive(one, receiver, requests, tmp_path)
    theirs = {(span.resource["service.name"], span.resource.get("custom.provider")) for span in receiver.spans}
    assert requests_expected(requests)[0:1] == requests_seen_by_others(receiver, sent)
    assert ({("my-gunicorn-app", True)}, requests) == (theirs, total(receiver.points, "gunicorn.requests"))


def requests_seen_by_others(receiver: Receiver, sent: Sequence[Sent]) -> tuple[object, ...]:
    """Return the account alone; the resource of the user's provider may not follow the process."""
    found = account(sent, receiver.spans, receiver.points, work_span="", work_counter="")
    return ((found.received, found.lost, found.doubled, 0),)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("conf", [(), CONF], ids=["never instrumented", "instrumented in gunicorn.conf.py"])
def test_the_cleanup_of_the_reference(conf: tuple[str, ...], receiver: Receiver, tmp_path: Path):
    """After `uninstrument()` the server serves, and nothing at all is sent."""
    one = Row(name="cleanup", command=(*GUNICORN, *conf, "reference.cleanup:app"), application=PROGRAMS)
    sent = serve_and_receive(one, receiver, 20, tmp_path)
    assert (20, [], []) == (len(sent), receiver.spans, receiver.points)
