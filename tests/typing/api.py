"""The public surface as a user types it: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import otelfork


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A WSGI application."""
    start_response("200 OK", [])
    return [b""]


app: otelfork.OtelMiddleware = otelfork.OtelMiddleware(wsgi)
telemetry: otelfork.Telemetry = otelfork.configure(service_name="shop")
done: bool = otelfork.flush(timeout=1.0) and telemetry.flush() and otelfork.shutdown()
trace_id: str | None = otelfork.current_trace_id()
