"""What a request span has from the moment on that somebody touches it.

Private names of the SDK: see `otelfork.lane`.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, final

from opentelemetry.attributes import BoundedAttributes


@final
class Inner:
    """What a span needs from the moment on that somebody touches it."""

    __slots__ = ("attributes", "events", "links", "lock")

    def __init__(self) -> None:
        # By this name: what gevent puts there later lets other greenlets run.
        self.lock = threading.Lock()
        self.attributes: BoundedAttributes | None = None
        self.events: Any = None
        self.links: Any = None

    def ended(self, attributes: Mapping[str, Any]) -> None:
        """Add the attributes of the end, where another thread has made the others in that very moment and did not know these."""
        with self.lock:
            if self.attributes is not None:
                self.attributes._dict.update(attributes)
                self.attributes._immutable = True
