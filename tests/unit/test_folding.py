"""Laws of the folded figures of requests: what a reader collects is what the instruments would have given it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.fresh import run
from tests.unit.recording import ACTIVE, DURATION, REQUEST_SIZE, RESPONSE_SIZE, call_wsgi, environ, plain

from otelfork import OtelMiddleware
from otelfork.lane.folding import Folding, fold
from otelfork.lane.noting import MOST, OFTEN, Active, Entry, Figures
from otelfork.testing import capture

RUNNING = {"name": "active", "unit": "{request}", "description": ""}
VIEWS: list[Sequence[View]] = [
    (),
    [View(instrument_name="duration", attribute_keys={"a"})],
    [View(instrument_name="duration", aggregation=DropAggregation())],
    [View(instrument_name="duration", aggregation=ExponentialBucketHistogramAggregation())],
    [View(instrument_name="duration"), View(instrument_name="duration", name="again", attribute_keys=set())],
]
FILTERS = [sdk.TraceBasedExemplarFilter, sdk.AlwaysOnExemplarFilter, sdk.AlwaysOffExemplarFilter]
ENTRIES = st.lists(
    st.builds(
        Figures,
        st.floats(0, 12, width=16), st.none() | st.integers(0, 20_000), st.none(), st.integers(1, 9),
        st.sampled_from([b"%016d" % number for number in range(9)]), st.sampled_from([b"%08d" % number for number in range(9)]),
        st.sampled_from([0, 1, 3]),
    ),
    max_size=12,
)  # fmt: skip
ROUNDS = st.lists(
    st.tuples(st.sampled_from([{"a": 1}, {"a": 1, "b": "x"}, {"a": True}, {}]), ENTRIES, st.booleans()), max_size=5
)


class Measured:
    """One provider with a histogram, and a reader of each temporality."""

    def __init__(self, views: Sequence[View], exemplar_filter: Any) -> None:
        delta = AggregationTemporality.DELTA
        self.readers = [InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality={sdk.Histogram: delta})]
        provider = sdk.MeterProvider(
            self.readers, shutdown_on_exit=False, views=views, exemplar_filter=exemplar_filter()
        )
        self.histogram = provider.get_meter("test").create_histogram(
            "duration", explicit_bucket_boundaries_advisory=(0.0, 1.0, 5.0, 10.0)
        )

    def points(self) -> list[Any]:
        """Collect: all of the points but their times. The reservoir of an exponential histogram draws lots."""
        found: list[Any] = []
        for reader in self.readers:
            data: Any = reader.get_metrics_data()
            for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
                for point in metric.data.data_points:
                    buckets = getattr(point, "bucket_counts", None) or (point.positive, point.zero_count)
                    exact = hasattr(point, "bucket_counts")
                    exemplars = [
                        (each.value, each.trace_id, each.span_id, each.filtered_attributes) for each in point.exemplars
                    ]
                    shown = exemplars if exact else bool(exemplars)
                    sizes = (point.count, pytest.approx(point.sum), point.min, point.max, buckets)
                    found.append((metric.name, dict(point.attributes), sizes, shown))
        return found


@pytest.mark.private_names
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(VIEWS), st.sampled_from(FILTERS), ROUNDS)
def test_a_folded_histogram_is_the_recorded_one(views: Any, exemplar_filter: Any, rounds: Any) -> None:
    """Counts, sums, buckets, extremes and exemplars are those of one call for each value, whatever the view and the reader."""
    folded, recorded = Measured(views, exemplar_filter), Measured(views, exemplar_filter)
    seen = []
    for attributes, entries, collects in [*rounds, ({}, [], True)]:
        fold(folded.histogram, attributes, [entry.seconds for entry in entries], entries)
        for entry in entries:
            ids = int.from_bytes(entry.trace_bytes, "big"), int.from_bytes(entry.id_bytes, "big")
            span = NonRecordingSpan(SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(entry.flags)))
            context = trace.set_span_in_context(span, Context())
            recorded.histogram.record(entry.seconds, attributes, context)
        if collects:
            seen.append((recorded.points(), folded.points()))
    assert [expected for expected, _ in seen] == [actual for _, actual in seen]


def entry(seconds: float = 0.5, received: int | None = 1, sent: int | None = 2) -> Entry:
    """Return what is noted of a request."""
    return Figures(seconds, received, sent, 1_000, b"1" * 16, b"2" * 8, 1)


def joined(wake: Any = lambda: None) -> tuple[Folding, InMemoryMetricReader]:
    """Return a folding over instruments of its own, and their reader."""
    reader = InMemoryMetricReader()
    meter = sdk.MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    folding = Folding(wake)
    folding.join([meter.create_histogram(name) for name in ("duration", "received", "sent")], meter, RUNNING)
    return folding, reader


def counts(reader: InMemoryMetricReader) -> dict[str, int]:
    """Collect: the counts of histograms and the values of sums, all points together."""
    data: Any = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else ()
    return {
        metric.name: sum(getattr(point, "count", getattr(point, "value", 0)) for point in metric.data.data_points)
        for metric in metrics
    }


@pytest.mark.private_names
def test_every_collection_has_everything_noted_before() -> None:
    """A reader that collects by itself finds each request that ended before, and none twice; None is not measured."""
    folding, reader = joined()
    next(folding.active("a", {"a": 1}).begun)
    batch = folding.batch("a", {"a": 1})
    seen = []
    for number in range(3):
        for _ in range(number + 1):
            batch.add(entry())
        batch.add(entry(received=None, sent=None))
        found = counts(reader)
        seen.append((found["duration"], found["received"], found["sent"], found["active"]))
    assert [(2, 1, 1, 1), (5, 3, 3, 1), (9, 6, 6, 1)] == seen


@pytest.mark.private_names
def test_nothing_is_lost_or_doubled_between_threads() -> None:
    """Requests that end in several threads while two others collect and fold are each counted once."""
    folding, reader = joined()
    done = threading.Event()

    def work() -> None:
        for _ in range(3000):
            active = folding.active("a", {"a": 1})
            next(active.begun)
            folding.batch("a", {"a": 1}).add(entry())
            next(active.ended)

    def read() -> None:
        while not done.is_set():
            folding.fold()
            counts(reader)

    workers = [threading.Thread(target=work) for _ in range(4)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in (*workers, *readers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert {"duration": 12_000, "received": 12_000, "sent": 12_000, "active": 0} == counts(reader)


@pytest.mark.private_names
def test_what_waits_is_bounded() -> None:
    """After a thousand requests the exporter thread is woken; at the bound of all sets together they are folded where one ends."""
    woken: list[int] = []
    folding, reader = joined(lambda: woken.append(1))
    batches = [folding.batch(number, {"a": number}) for number in range(4)]
    waiting = []
    for number in range(1, MOST + 1):
        batches[number % 4].add(entry())
        if not number % OFTEN:
            folding.hurry()
            waiting.append(sum(len(batch.entries) for batch in batches))
    assert (MOST // OFTEN, [OFTEN, 2 * OFTEN, 3 * OFTEN, 0]) == (len(woken), waiting)
    assert MOST == counts(reader)["duration"]


@pytest.mark.private_names
def test_requests_look_after_what_they_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so often, counted over all statuses, whichever way they end."""
    hurried: list[int] = []
    monkeypatch.setattr(Folding, "hurry", lambda self: hurried.append(served))

    def app(given: Any, start_response: Any) -> list[bytes]:
        if served % 2:
            trace.get_current_span().record_exception(ValueError("no such item"))
        start_response("200 OK" if served % 3 else "404 Not Found", [])
        return [b"x"]

    with capture():
        wrapped = OtelMiddleware(app)
        for served in range(1, 2 * OFTEN + 1):
            call_wsgi(wrapped, environ(HTTP_BAGGAGE="a=1") if served % 5 else environ())
    assert [OFTEN, 2 * OFTEN] == hurried


def test_running_requests_are_never_negative() -> None:
    """However often it is read, the number of running requests is what began less what ended."""
    active = Active({})
    seen = [active.running()]
    for step in (active.begun, active.begun, active.ended, active.ended):
        next(step)
        seen += [active.running(), active.running()]
    assert [0, 1, 1, 2, 2, 1, 1, 0, 0] == seen


@pytest.mark.private_names
def test_a_point_starts_with_its_first_request() -> None:
    """The start time of a folded point is not the time of the collection."""
    folding, reader = joined()
    folding.batch("a", {}).add(entry())
    data: Any = reader.get_metrics_data()
    points = [
        point
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
        if metric.name == "duration"
    ]
    assert [1_000] == [point.start_time_unix_nano for point in points]


def test_a_users_exemplar_filter_is_asked_each_time() -> None:
    """Behind a filter of the user's own the instruments are used one by one."""

    class Own(sdk.AlwaysOnExemplarFilter):
        pass

    meter = sdk.MeterProvider([], shutdown_on_exit=False, exemplar_filter=Own()).get_meter("test")
    histogram = meter.create_histogram("duration")
    assert False is Folding(lambda: None).join([histogram] * 3, meter, RUNNING)


@pytest.mark.parametrize("public", ["false", "true"])
def test_the_middleware_records_the_same_both_ways(public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two middlewares of one process give one point each of duration and sizes, an exemplar, and no running request."""
    monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", public)
    with capture() as telemetry:
        for _ in range(2):
            app = OtelMiddleware(plain)
            call_wsgi(app)
            call_wsgi(app)
        found = telemetry.metrics()
        points = {name: list(found[name].data.data_points) for name in (DURATION, REQUEST_SIZE, RESPONSE_SIZE, ACTIVE)}
    histograms = [(len(points[name]), points[name][0].count) for name in (DURATION, REQUEST_SIZE, RESPONSE_SIZE)]
    (exemplar, *_) = points[DURATION][0].exemplars
    known = exemplar.span_id in {span.context.span_id for span in telemetry.spans}
    assert ([(1, 4)] * 3, 22.0 / 2 * 4, [0], True) == (
        histograms,
        points[RESPONSE_SIZE][0].sum,
        [point.value for point in points[ACTIVE]],
        known,
    )


_SERVED = """
    from otelfork.middleware import OtelMiddleware
    from tests.unit.recording import call_wsgi, plain

    configure()
    app = OtelMiddleware(plain)
"""


def test_parent_and_child_count_their_own() -> None:
    """What was noted before a fork the parent exports, once; a child begins at zero, running requests too."""
    lines = run(_SERVED + """
    def forking(environ, start_response):
        if environ["PATH_INFO"] == "/fork":
            pid = os.fork()
            if pid == 0:
                for _ in range(2):
                    call_wsgi(app)
                otelfork.flush(5)
                os._exit(0)
            os.waitpid(pid, 0)
        return plain(environ, start_response)

    from tests.unit.recording import environ
    app = OtelMiddleware(forking)
    for path in ("/", "/", "/", "/fork"):
        call_wsgi(app, environ(PATH_INFO=path))
    otelfork.flush(5)
    os._exit(0)
    """)  # fmt: skip
    points = sorted(line for line in lines if line.startswith("point http.server.request.duration"))
    active = sorted(line for line in lines if line.startswith("point http.server.active_requests"))
    assert (
        ["point http.server.request.duration 2 child", "point http.server.request.duration 4 parent"],
        ["point http.server.active_requests 0 child", "point http.server.active_requests 0 parent"],
    ) == (points, active)
