"""Laws of what happens to few requests: each is recorded once and whole, and holds no other one."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import sampling
from tests import fresh
from tests.unit.recording import call_wsgi, environ, plain
from tests.unit.test_lane_wiring import exporting

from otelfork import OtelMiddleware, forks
from otelfork.encoding.encoder import Encoder
from otelfork.lane.inner import Inner
from otelfork.request import hooks


def running() -> list[int]:
    """Return how many requests are said to be running."""
    generation: Any = forks.current()
    return [active.running() for active in generation.folding._actives.values()]


def test_a_context_left_by_an_unsampled_request_adopts_nobody() -> None:
    """A connection's next request, begun in what its last one left, is a trace of its own: the last one's verdict is not its."""
    seen: list[Any] = []

    def app(given: Any, start_response: Any) -> Any:
        seen.append((trace.get_current_span().get_span_context().trace_id, context.get_current()))
        return plain(given, start_response)

    with exporting(sampler=lambda: sampling.ParentBased(sampling.TraceIdRatioBased(0.0))):
        served = OtelMiddleware(app)
        call_wsgi(served)
        token = context.attach(seen[0][1])
        try:
            call_wsgi(served)
        finally:
            context.detach(token)
    assert seen[0][0] != seen[1][0]


FORKING = """
from otelfork import OtelMiddleware
from tests.unit.recording import call_wsgi, plain

configure(service_name="forking")

def app(given, start_response):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return plain(given, start_response)

call_wsgi(OtelMiddleware(app))
otelfork.flush(5)
os._exit(0)
"""


@pytest.mark.parametrize(
    "variables", [{}, {"OTELFORK_PUBLIC_NAMES_ONLY": "true"}, {"OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup"}]
)
def test_a_child_forked_inside_a_request_records_nothing_of_it(variables: dict[str, str]) -> None:
    """The span and each figure are the parent's alone, whichever way they go, though the child returns from the request too."""
    lines = fresh.run(FORKING, environment=variables)
    of_the_request = [line for line in lines if line.startswith(("span", "point http."))]
    assert (True, []) == (bool(of_the_request), [line for line in of_the_request if line.endswith("child")])


@pytest.mark.parametrize("public", ["false", "true"])
def test_many_captured_headers_are_within_the_limit(public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span has no more attributes than OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT, whatever a client sends."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "70")
    monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", public)
    with exporting() as exporter:
        served = OtelMiddleware(plain, http_capture_headers_server_request=["x-.*"])
        call_wsgi(served, environ(**{f"HTTP_X_{number}": "value" for number in range(100)}))
        forks.flush(5)
        (span,) = exporter.get_finished_spans()
    assert 70 == len(span.attributes or {})


class Step:
    """Waits for one step of whoever drives the coroutine."""

    def __await__(self) -> Generator[None]:
        yield


@pytest.mark.private_names  # `running` asks the folding
def test_an_error_made_of_generator_exit_passes_and_the_request_ends() -> None:
    """A coroutine that is closed elsewhere, and raises an error of its own at that, is recorded and raises that error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await Step()
        except BaseException as error:
            raise LookupError("its own") from error

    with exporting() as exporter:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        coroutine: Any = OtelMiddleware(app)(scope, None, None)  # type: ignore[operator]
        contextvars.copy_context().run(coroutine.send, None)
        with pytest.raises(LookupError):
            coroutine.close()
        forks.flush(5)
        ended = len(exporter.get_finished_spans()), running()
    assert (1, [0]) == ended


@pytest.mark.private_names  # `running` asks the folding
def test_a_request_that_ends_in_its_hook_is_recorded() -> None:
    """What is no `Exception` (a timeout of gevent, a worker told to go) leaves a hook, and the request with it: it ends."""

    def hook(*_: Any) -> None:
        raise SystemExit

    with exporting() as exporter:
        with suppress(SystemExit):
            call_wsgi(OtelMiddleware(plain, request_hook=hook))
        forks.flush(5)
        ended = len(exporter.get_finished_spans()), running()
    assert (1, [0]) == ended


class Unroutable:
    """What an application may leave in its environ."""

    @property
    def url_rule(self) -> str:
        raise LookupError("no route")


def test_a_route_that_cannot_be_read_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The span and the duration of the request are there, without a route."""
    monkeypatch.setattr(hooks, "_said", {"route"})

    def app(given: Any, start_response: Any) -> Any:
        given["werkzeug.request"] = Unroutable()
        return plain(given, start_response)

    with exporting() as exporter:
        call_wsgi(OtelMiddleware(app))
        forks.flush(5)
        spans = [span.name for span in exporter.get_finished_spans()]
    assert ["GET"] == spans


@pytest.mark.parametrize("public", ["false", "true"])
def test_what_the_application_says_of_a_failure_is_kept(public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that it set with a description is not replaced by the bare one of a 5xx response."""
    monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", public)

    def app(_: Any, start_response: Any) -> Any:
        trace.get_current_span().set_status(trace.StatusCode.ERROR, "database is down")
        start_response("503 Service Unavailable", [])
        return [b""]

    with exporting() as exporter:
        call_wsgi(OtelMiddleware(app))
        forks.flush(5)
        (span,) = exporter.get_finished_spans()
    assert (trace.StatusCode.ERROR, "database is down") == (span.status.status_code, span.status.description)


@pytest.mark.private_names  # the moment is the lane's
def test_a_span_touched_in_the_moment_of_its_end_has_the_attributes_of_both() -> None:
    """Another thread that touches it first just before it ends costs it nothing of its end."""
    seen: list[Any] = []

    def app(given: Any, start_response: Any) -> Any:
        seen.append(trace.get_current_span())
        return plain(given, start_response)

    class Alone:
        """Stands in for `Sole`, and is asked between the look at the span and its end."""

        seen = None

        def __call__(self) -> bool:
            if not seen:  # asked before there is a span
                return True
            (span,) = seen
            toucher = threading.Thread(target=span.set_attribute, args=("late", 1))
            toucher.start()
            toucher.join()
            return True

    with exporting() as exporter:
        served: Any = OtelMiddleware(plain)
        call_wsgi(served)
        lane = served._edge.plan.lane
        lane._alone, kept = Alone(), lane._alone
        try:
            served.app = app
            call_wsgi(served)
        finally:
            lane._alone = kept
        forks.flush(5)
        attributes = dict(exporter.get_finished_spans()[-1].attributes or {})
    packed = Encoder().encode(seen)
    assert (1, 200, True) == (
        attributes["late"],
        attributes["http.response.status_code"],
        b"http.response.status_code" in packed,
    )


def test_a_spans_lock_is_what_gevent_has_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched after our import, as gunicorn's gevent worker does: a lock of threads would stop all greenlets of the thread."""
    patched = object()
    monkeypatch.setattr(threading, "Lock", lambda: patched)
    assert patched is Inner().lock


def test_what_clients_send_is_not_held_by_caches() -> None:
    """A header, path or query of many thousand characters is gone with its request."""
    many = "x" * 5000
    with exporting():
        served: Any = OtelMiddleware(plain)
        call_wsgi(served, environ(HTTP_HOST=many))
        call_wsgi(served, environ(RAW_URI="/" + many, QUERY_STRING="token=" + many, HTTP_USER_AGENT=many))
        call_wsgi(served, environ(HTTP_FORWARDED=many, HTTP_X_FORWARDED_FOR="unknown," + many))
        forks.flush(5)
        plan = served._edge.plan
        own = plan.packing
        held = [plan.kinds.keys(), [kind._first for kind in plan.kinds.values()], own.clients, own.paths, own.queries]
    assert [] == [each for each in held if many in repr(each)]
