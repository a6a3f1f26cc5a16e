"""The instruments: named as the conventions ask, with a bounded number of attribute sets."""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics, trace
from tests.unit.recording import ACTIVE, DURATION, REQUEST_SIZE, RESPONSE_SIZE, Recording, answering, call_wsgi

from otelfork import semconv
from otelfork.request.instruments import Instruments


def test_units_descriptions_and_boundaries() -> None:
    """Each instrument has the unit of the conventions, and the duration the advised boundaries in seconds."""
    recording = Recording()
    call_wsgi(recording.wsgi(answering([b"x"])))
    data: Any = recording.collect()
    seen = {metric.name: metric.unit for metric in data}
    (point,) = recording.points(DURATION)
    expected = {DURATION: "s", ACTIVE: "{request}", REQUEST_SIZE: "By", RESPONSE_SIZE: "By"}
    assert (expected, semconv.DURATION_BOUNDARIES) == (seen, tuple(point.explicit_bounds))


def test_over_the_limit_everything_falls_into_the_overflow_set() -> None:
    """Of many routes or codes no more attribute sets are made than the limit allows, and no request is left out."""
    recording = Recording(cardinality_limit=5)
    for code in range(200, 220):
        call_wsgi(recording.wsgi(answering([b"x"], f"{code} X")))
    points = recording.points(DURATION)
    overflow = [point.count for point in points if dict(point.attributes) == {"otel.metric.overflow": True}]
    expected = (5, 20, [16])
    assert expected == (len(points), sum(point.count for point in points), overflow)


def test_a_tracer_or_meter_is_taken_as_given() -> None:
    """A tracer and a meter that the user gives are used themselves."""
    tracer = trace.NoOpTracer()
    meter = metrics.NoOpMeter("mine")
    made = Instruments.create(tracer=tracer, meter=meter)
    assert tracer is made.tracer
