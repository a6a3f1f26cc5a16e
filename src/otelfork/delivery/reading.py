"""What the outbox asks of the pulling side of the metrics."""

from __future__ import annotations

from typing import Protocol

from otelfork.delivery.backoff import Backoff


class Reader(Protocol):
    """A pulling side of the metrics: collects and exports once (see `outlets.OutboxReader`)."""

    @property
    def backoff(self) -> Backoff:
        """When to collect again after a failure that may pass."""

    def collect_and_export(self, timeout: float) -> bool:
        """Collect all instruments and export them; seconds; tell whether they were handed over."""

    def shutdown(self) -> None:
        """Stop the exporter for good."""
