"""Laws of a user's own SDK providers in forked children: what is noted for them belongs to the process that noted it."""

from __future__ import annotations

import pytest
from tests.fresh import run

from otelfork.lane.folding import fits

SETUP = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from otelfork import OtelMiddleware

class Writing(SpanExporter):
    def export(self, batch):
        for span in batch:
            out("span", span.attributes["url.path"], who())
        return SpanExportResult.SUCCESS

traces = TracerProvider(shutdown_on_exit=False)
traces.add_span_processor(BatchSpanProcessor(Writing()))
reader = InMemoryMetricReader()
meters = MeterProvider([reader], shutdown_on_exit=False)
FORK = {fork}

def collect():
    for resource in getattr(reader.get_metrics_data(), "resource_metrics", ()):
        for metric in resource.scope_metrics[0].metrics:
            for point in metric.data.data_points:
                value = point.value if hasattr(point, "value") else point.count
                out(metric.name.rpartition(".")[2], value, who())

def finish():
    traces.force_flush()
    collect()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/fork":
        pid = FORK()
        if pid == 0:
            {child}
        os.waitpid(pid, 0)
    start_response("200 OK", [])
    return [b"x"]

app = OtelMiddleware(application, tracer_provider=traces, meter_provider=meters)

def request(path):
    body = app({{"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.url_scheme": "http"}}, lambda *_: None)
    list(body), body.close()
"""
FORKS = ["os.fork", "c_fork"]


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("public", ["true", "false"])
def test_a_child_begins_at_zero(fork: str, public: str) -> None:
    """What was noted before a fork is the parent's, running requests too; what the child notes its own readers collect."""
    child = "list(map(request, ['/child', '/child'])); finish(); os._exit(0)"
    lines = run(
        SETUP.format(fork=fork, child=child) + "request('/first'); request('/fork'); finish()",
        environment={"OTELFORK_PUBLIC_NAMES_ONLY": public},
    )
    spans = sorted(line for line in lines if line.startswith("span"))
    running = sorted(line for line in lines if line.startswith("active_requests"))
    # Used by itself, the SDK's histogram has the parent's first request in the child too: it was recorded before the fork.
    durations = sorted(line for line in lines if line.startswith("duration"))
    before = 0 if public == "false" and fits() else 1
    assert (
        ["span /child child", "span /child child", "span /first parent", "span /fork parent"],
        ["active_requests 0 child", "active_requests 0 parent"],
        sorted([f"duration {2 + before} child", "duration 2 parent"]),
    ) == (spans, running, durations)


ADDING = """
from opentelemetry.sdk.trace import SpanProcessor

class Adding(SpanProcessor):
    def on_start(self, span, parent_context=None):
        span.set_attribute("tenant", "a")

traces.add_span_processor(Adding())
"""
NOTING = """
from opentelemetry.sdk.trace import SpanProcessor

class Noting(SpanProcessor):
    def on_end(self, span):
        out("ended", who())

traces.add_span_processor(Noting())
"""


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("public", ["true", "false"])
@pytest.mark.parametrize("others", ["", ADDING, NOTING], ids=["stock", "adding", "noting"])
def test_a_request_begun_before_a_fork_is_the_parents(fork: str, public: str, others: str) -> None:
    """A child that comes out of its parent's request ends nothing: one span and one count, the parent's."""
    child = "start_response('200 OK', []); return [b'x']"
    lines = run(
        SETUP.format(fork=fork, child=child) + others + "request('/fork'); finish()",
        environment={"OTELFORK_PUBLIC_NAMES_ONLY": public},
    )
    told = [line for line in lines if line.startswith(("span", "duration", "active", "ended"))]
    noted = ["ended parent"] if others == NOTING else []
    assert ["active_requests 0 parent", "duration 1 parent", *noted, "span /fork parent"] == sorted(told)


def test_an_idle_child_reports_nothing_that_is_running() -> None:
    """A child that serves nothing counts no running request, though its parent had one when it was forked."""
    lines = run(SETUP.format(fork="os.fork", child="collect(); os._exit(0)") + "request('/fork'); collect()")
    assert ["active_requests 0 parent"] == [line for line in lines if line.startswith("active")]


SEATED = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from otelfork import OtelMiddleware
from otelfork.lane import RequestSpan
from tests.unit.recording import call_wsgi, environ, plain

class Writing(SpanExporter):
    def export(self, batch):
        for each in batch:
            out("span", each.attributes["url.path"], type(each) is ReadableSpan, who())
        return SpanExportResult.SUCCESS

readers = []

def traces():
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Writing()))
    return provider

def meters():
    readers.append(InMemoryMetricReader())
    return MeterProvider([readers[-1]], shutdown_on_exit=False)

{seats}

def application(given, start_response):
    kind = isinstance(trace.get_current_span(), RequestSpan)
    out("lane", kind, who())
    return plain(given, start_response)

app = OtelMiddleware(application)

def request(path):
    call_wsgi(app, environ(PATH_INFO=path))

def finish():
    otelfork.flush(15)
    for resource in getattr(readers[-1].get_metrics_data(), "resource_metrics", ()) if readers else ():
        for metric in resource.scope_metrics[0].metrics:
            if metric.name in ("http.server.active_requests", "http.server.request.duration"):
                for point in metric.data.data_points:
                    value = point.value if hasattr(point, "value") else point.count
                    out("point", metric.name, value, who())

def serve():
    request("/child")
    finish()

request("/first")
reaped([forked(serve)])
request("/second")
finish()
"""
SEATS = {
    "global": "trace.set_tracer_provider(traces()); metrics.set_meter_provider(meters())",
    "traces": "trace.set_tracer_provider(traces()); configure()",
    "metrics": "metrics.set_meter_provider(meters()); configure()",
    "factory": "from otelfork.build.providers import Providers\n"
    "otelfork.configure(providers=lambda: Providers(traces(), meters()))",
}


@pytest.mark.private_names
@pytest.mark.parametrize("seats", SEATS.values(), ids=SEATS)
def test_providers_in_the_seats_have_the_lane_too(seats: str) -> None:
    """Wherever the user's providers are found, their requests are the lane's; each process tells its own, once."""
    lines = run(SEATED.format(seats=seats), environment={"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"})
    found: dict[str, dict[str, int]] = {"parent": {}, "child": {}}
    for line in lines:
        if line.startswith(("point http.server.active", "point http.server.request.duration")):
            _, name, value, process = line.split()
            found[process][name.rpartition(".")[2]] = int(value)
    lanes = [line for line in lines if line.startswith("lane")]
    spans = sorted(line for line in lines if line.startswith("span /"))
    expected = ["span /child True child", "span /first True parent", "span /second True parent"]
    assert (
        ["lane True parent", "lane True child", "lane True parent"],
        [] if "set_tracer_provider" not in seats and "Providers" not in seats else expected,
        {"parent": {"active_requests": 0, "duration": 2}, "child": {"active_requests": 0, "duration": 1}},
    ) == (lanes, spans, found)
