"""Scrapes what a server under test shows to Prometheus, and remembers how long nobody answered."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

COUNT = "http_server_request_duration_seconds_count"
SCRAPE_SECONDS, PATIENCE = 2.0, 30.0


class Scraper:
    """Scrapes one port; a scrape that fails is a gap, whose length in seconds is noted."""

    def __init__(self, port: int, path: str = "/metrics") -> None:
        self.port = port
        self.path = path
        self.longest_gap = 0.0
        self._answered: float | None = None

    def page(self) -> str | None:
        """Return the page, or None where nobody answers."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SCRAPE_SECONDS)) as connection:
            try:
                connection.request("GET", self.path)
                response = connection.getresponse()
                body = response.read().decode()
            except (OSError, http.client.HTTPException):
                if self._answered is not None:
                    self.longest_gap = max(self.longest_gap, time.monotonic() - self._answered)
                return None
        assert response.status == 200, body
        self._answered = time.monotonic()
        return body

    def readings(self, until: Callable[[], object], deadline: float = PATIENCE) -> Iterator[str]:
        """Yield each page that is answered until `until()` is true and one more page was read after that."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            done = until()
            page = self.page()
            if page is not None:
                yield page
                if done:
                    return
            time.sleep(0.05)
        raise AssertionError("it did not come about")


def total(page: str, name: str = COUNT) -> float:
    """Return the sum of all samples of that name."""
    families = text_string_to_metric_families(page)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def holder(folder: Path) -> int:
    """Return the pid of the worker that has the port."""
    (note,) = (folder / "run").glob("*.holder")
    return int(json.loads(note.read_text())["pid"])


def environment(port: int) -> dict[str, str]:
    """Return the variables of a server that is scraped on that port."""
    return {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
