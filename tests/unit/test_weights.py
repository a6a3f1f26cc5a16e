"""The weight of a record grows with what it holds, and whatever it is, it can be weighed."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext

from otelfork.delivery import weights

CONTEXT = SpanContext(1, 2, is_remote=False)
LIGHT = ReadableSpan("s", CONTEXT)


@pytest.mark.parametrize(
    "heavy",
    [
        ReadableSpan("s", CONTEXT, attributes={"a": "x" * 10_000}),
        ReadableSpan("s", CONTEXT, attributes={"a": ["x" * 5_000, "y" * 5_000]}),
        ReadableSpan("s", CONTEXT, events=[Event("e", attributes={"stack": "x" * 10_000})]),
        SimpleNamespace(log_record=SimpleNamespace(body="x" * 10_000, attributes=None)),
        SimpleNamespace(log_record=SimpleNamespace(body={"deep": ["x" * 10_000]}, attributes={})),
    ],
)
def test_long_texts_count_wherever_they_are(heavy):
    """Attributes, lists, events, bodies."""
    assert 10_000 < weights.of_anything(heavy) - weights.of_anything(LIGHT) < 11_000


def test_what_contains_itself_ends():
    """A log's body may be anything."""
    endless = {}
    endless["again"] = endless
    assert weights.of_anything(SimpleNamespace(log_record=SimpleNamespace(body=endless, attributes=None))) > 0


def test_what_is_no_record_has_a_weight():
    """An estimate raises nothing."""
    assert weights.of_anything(object()) > 0


def test_the_average_of_a_few_at_a_time_is_that_of_all():
    """Where one of 32 is heavy, batch after batch, the average stays near the true one, whatever place it has."""
    scales = weights.Scales(int)
    batch = [3200 if number % 32 == 5 else 0 for number in range(512)]
    found = [scales.of_few(batch) for _ in range(2000)]
    assert 85 < sum(found) / len(found) < 115


def test_what_waits_counts_by_itself():
    """The average of what is weighed as a whole takes the place of what batches have said."""
    scales = weights.Scales(int)
    averages = [scales.of_few([100] * 50), scales.of_many([20, 40]), scales.of_few([70])]
    assert [100, 30, 40] == averages


def test_an_application_s_random_numbers_stay_what_they_are():
    """Records are chosen with a generator of our own."""
    before = random.getstate()
    weights.Scales(int).of_few([1] * 512)
    assert before == random.getstate()
