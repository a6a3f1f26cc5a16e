"""The weight of a record grows with what it holds, and whatever it is, it can be weighed."""

from __future__ import annotations

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
