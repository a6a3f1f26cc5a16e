"""What requests leave behind: one object that the garbage collector has to look after, as long as somebody waits for it."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.fresh import run
from tests.unit.recording import call_wsgi

from otelfork import OtelMiddleware

SCRIPT = """
    import asyncio, gc
    from benchmarks import applications, driving

    drive = {{"wsgi": driving.drive_wsgi, "asgi": driving.drive_asgi}}["{interface}"]
    configure(exporters={{"traces": [Spans], "metrics": [], "logs": []}})
    app = otelfork.OtelMiddleware(applications.{interface})
    drive(app, "{phase}", 100)
    gc.collect()
    gc.disable()
    before = len(gc.get_objects())
    drive(app, "{phase}", 400)
    out(round((len(gc.get_objects()) - before) / 400, 1))
    os._exit(0)
"""
WAITING = {
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10000",
    "OTEL_BSP_MAX_QUEUE_SIZE": "10000",
}
"""Nothing is exported, so that everything that requests leave is still there."""


@pytest.mark.private_names
@pytest.mark.parametrize("phase", ["traceparent", "none", "unsampled"])
@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_request_leaves_one_object(interface: str, phase: str) -> None:
    """Its span, which the exporter waits for, and that holds its figures; no tuple, no dictionary, and no cycle."""
    assert ["1.0"] == run(SCRIPT.format(interface=interface, phase=phase), environment=WAITING)


HANGING = """
    import gc, threading
    from benchmarks import applications, driving
    from otelfork.lane import RequestSpan

    hanging = threading.Event()
    class Hangs(Spans):
        def export(self, batch, *args, **kwargs):
            hanging.set()
            threading.Event().wait()

    configure(exporters={"traces": [Hangs], "metrics": [], "logs": []})
    app = otelfork.OtelMiddleware(applications.wsgi)
    driving.drive_wsgi(app, "traceparent", 64)
    hanging.wait(20)
    for _ in range(20):
        driving.drive_wsgi(app, "traceparent", 100)
        held = sum(isinstance(each, RequestSpan) for each in gc.get_objects())
        assert held <= 64 + 128 + 16, held
    noted = sum(len(batch.entries) for batch in forks.current().folding._batches.values())
    out(len(forks.current().outbox.streams[0].queue), noted <= 16)
    os._exit(0)
"""


@pytest.mark.private_names
def test_what_the_queue_has_dropped_is_held_by_nobody() -> None:
    """While an export hangs: the batch on its way, what waits, and an eighth of that at most."""
    settings = {
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
        "OTEL_BSP_MAX_QUEUE_SIZE": "128",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    assert ["128 True"] == run(HANGING, environment=settings)


@pytest.mark.private_names
def test_spans_of_the_users_own_providers_are_held_by_nobody() -> None:
    """Not by their figures, which may wait long for a reader, and not what user code has put on them."""
    held: list[weakref.ref[Any]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        held.append(weakref.ref(trace.get_current_span()))
        start_response("200 OK", [])
        return [b"x"]

    spans, points = TracerProvider(shutdown_on_exit=False), MeterProvider([], shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    spans.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(9):
        call_wsgi(OtelMiddleware(app, tracer_provider=spans, meter_provider=points))
    exported = len(exporter.get_finished_spans())
    exporter.clear()
    assert (9, [None] * 9) == (exported, [span() for span in held])
