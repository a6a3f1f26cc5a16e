"""The quick ways to the current context lead to the same as the public ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from opentelemetry import context
from opentelemetry.context import Context

from otelfork.lane import current


@pytest.mark.parametrize("ways", [current.PUBLIC, current._quickest()])
def test_what_is_attached_is_current_until_it_is_detached(ways: current.Current):
    """For the API, too."""
    before, given = context.get_current(), Context({"key": "value"})
    token = ways.attach(given)
    seen = ways.get(), context.get_current()
    ways.detach(token)
    assert ((given, given), before) == (seen, context.get_current())


@pytest.mark.parametrize("held", [None, SimpleNamespace(_current_context=None)])
def test_of_another_runtime_context_the_public_ways_are_used(held: object, monkeypatch: pytest.MonkeyPatch):
    """OTEL_PYTHON_CONTEXT may name one."""
    monkeypatch.setattr(context, "_RUNTIME_CONTEXT", held)
    assert current.PUBLIC == current._quickest.__wrapped__()


def test_public_names_only(monkeypatch: pytest.MonkeyPatch):
    """OTELFORK_PUBLIC_NAMES_ONLY forces the public ways."""
    monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", "true")
    assert current.PUBLIC == current.ways()
