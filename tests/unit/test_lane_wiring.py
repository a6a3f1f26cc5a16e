"""Laws of where request spans come from: of the lane where the provider and the outbox are ours, else of the tracer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.recording import call_wsgi, environ, plain

from otelfork import OtelMiddleware, bootstrap, forks
from otelfork.lane import RequestSpan


@contextmanager
def exporting(**options: Any) -> Iterator[InMemorySpanExporter]:
    """Configure telemetry with spans that end in memory, by way of the outbox."""
    exporter = InMemorySpanExporter()
    with bootstrap.replaced():
        bootstrap.configure(exporters={"traces": [lambda: exporter], "metrics": [], "logs": []}, **options)
        yield exporter


def serve(**options: Any) -> tuple[trace.Span, Any]:
    """Serve one request; return the span that was current in the application, and the middleware."""
    seen: list[trace.Span] = []

    def app(given: Any, start_response: Any) -> list[bytes]:
        seen.append(trace.get_current_span())
        return plain(given, start_response)

    call_wsgi(OtelMiddleware(app, **options), environ(PATH_INFO="/items", QUERY_STRING="token=1&page=2"))
    return seen[0], forks.current()


@pytest.mark.private_names
def test_a_request_span_of_ours_is_the_lanes() -> None:
    """Where provider and outbox are ours, the lane starts the span, and what is exported is that very span."""
    with exporting() as exporter:
        span, _ = serve()
        forks.flush(5)
    assert (True, True) == (isinstance(span, RequestSpan), exporter.get_finished_spans() == (span,))


def test_public_names_only_means_no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTELFORK_PUBLIC_NAMES_ONLY forces the SDK's own span."""
    monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", "true")
    with exporting():
        span, _ = serve()
    assert False is isinstance(span, RequestSpan)


def test_the_users_providers_keep_their_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """By public names alone a span of a provider that the user made is that provider's (see `test_own_providers`)."""
    monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", "true")
    with exporting():
        span, _ = serve(
            tracer_provider=TracerProvider(shutdown_on_exit=False), meter_provider=MeterProvider(shutdown_on_exit=False)
        )
    assert False is isinstance(span, RequestSpan)


def test_both_ways_record_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported span has the same name, kind, attributes and status, whichever way it came."""
    found = []
    for public in ("false", "true"):
        monkeypatch.setenv("OTELFORK_PUBLIC_NAMES_ONLY", public)
        with exporting() as exporter:
            serve()
            forks.flush(5)
        (span,) = exporter.get_finished_spans()
        found.append((span.name, span.kind, dict(span.attributes or {}), span.status.status_code, span.parent))
    assert found[0] == found[1]


class Noting(SpanProcessor):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.calls.append(("start", span.attributes["url.path"]))

    def on_end(self, span: Any) -> None:
        self.calls.append(("end", span.attributes["url.path"]))


def test_processors_of_the_user_see_the_lanes_spans() -> None:
    """A processor beside the outbox is called at start and end, as with the SDK's span."""
    noting = Noting()
    with exporting(span_processors=[noting]) as exporter:
        serve()
        forks.flush(5)
    assert ([("start", "/items"), ("end", "/items")], 1) == (noting.calls, len(exporter.get_finished_spans()))
