"""What requests leave to the garbage collector: it comes after so many new objects, and looks at all that a process has."""

from __future__ import annotations

import pytest
from tests.fresh import run

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
