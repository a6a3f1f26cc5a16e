"""Exponential histograms as classic ones, and several as one."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from tests.unit.scraping import converted, samples

from otelfork.prometheus import exponential

EXPONENTIAL = [View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())]
VALUES = st.lists(st.floats(1e-6, 1e6) | st.just(0.0), min_size=1, max_size=50)


def recorded(values):
    """Return the value of a histogram that has recorded these."""

    def record(meter):
        histogram = meter.create_histogram("h")
        for value in values:
            histogram.record(value)

    (family,) = converted(record, views=EXPONENTIAL).values()
    (value,) = family.series.values()
    return value


def expected(bounds, values):
    """Return how many values are at or below each bound, and at all."""
    ordered = sorted(values)
    return [bisect_right(ordered, bound * (1 + 1e-9)) for bound in bounds] + [len(values)]


@given(VALUES)
def test_classic_buckets_count_every_value_once(values):
    """A bucket counts what is at or below its bound."""
    bounds, counts, _ = exponential.classic(recorded(values))
    assert expected(bounds, values) == counts


@given(VALUES, VALUES)
def test_two_are_added_exactly(one, other):
    """The sum of two histograms is the histogram of both, at the coarser scale."""
    bounds, counts, _ = exponential.classic(exponential.joined(recorded(one), recorded(other)))
    assert expected(bounds, one + other) == counts


def test_bounds_are_few():
    """There are two for each doubling, whatever the scale of the histogram."""
    bounds, _, _ = exponential.classic(recorded([1.0, 1.001, 1.9]))
    assert len(bounds) <= 4


def test_below_zero_there_is_no_sum():
    """A histogram with negative values shows buckets and count."""
    value = [-3.0, 0, 1, [0, [1]], [0, [2]]]
    bounds, counts, total = exponential.classic(value)
    assert ([-1.0, 0.0, 2.0], [2, 3, 4, 4], -3.0) == (bounds, counts, total)


def test_what_is_beyond_every_number_is_in_the_last_bucket():
    """A bound that is no finite number is left to +Inf."""
    bounds, counts, _ = exponential.classic([1.0, -4, 0, [63, [1, 1]], [0, []]])
    assert ([0.0], [0, 2]) == (bounds, counts)


def test_the_page_has_it_as_a_histogram():
    """No error, and no native histogram that the text format has no place for."""

    def record(meter):
        meter.create_histogram("h", unit="s").record(1.5)

    found = samples(converted(record, views=EXPONENTIAL))
    assert (1.0, 1.5) == (found["h_seconds_bucket", (("le", "+Inf"),)], found["h_seconds_sum", ()])
