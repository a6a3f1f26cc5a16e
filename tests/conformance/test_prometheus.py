"""One page for all workers behind real servers: what was counted stays counted, whichever worker is recycled or killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conformance.driving import drive
from tests.conformance.rows import FASTAPI, PROGRAMS, Row
from tests.conformance.serving import Server, free_port, serve

REQUESTS = 120
SCRAPE_SECONDS, TAKEOVER_SECONDS, PATIENCE = 2.0, 15.0, 30.0
WORKERS = "4"
_GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", WORKERS)
ROWS = (
    Row("gunicorn", (*_GUNICORN, "wsgi_app:app"), PROGRAMS),
    Row("gunicorn --preload", (*_GUNICORN, "--preload", "wsgi_app:app"), PROGRAMS, preload=True),
    Row("gunicorn gevent --preload", (*_GUNICORN, "--preload", "-k", "gevent", "wsgi_app:app"), PROGRAMS, preload=True),
    Row(
        "uwsgi",
        (
            *("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", WORKERS, "--enable-threads"),
            *("--die-on-term", "--need-app", "--module", "wsgi_app:app"),
        ),
        PROGRAMS,
        preload=True,
        stop_idle=True,
    ),
    Row(
        "uvicorn --workers",
        ("{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", WORKERS, "app:app"),
        FASTAPI,
    ),
)


class Scraper:
    """Scrapes one port; a scrape that fails is a gap, whose length in seconds is noted."""

    def __init__(self, port: int, path: str = "/metrics") -> None:
        self.port = port
        self.path = path
        self.longest_gap = 0.0
        self._answered = time.monotonic()

    def page(self) -> str | None:
        """Return the page, or None where nobody answers."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SCRAPE_SECONDS)) as connection:
            try:
                connection.request("GET", self.path)
                response = connection.getresponse()
                body = response.read().decode()
            except (OSError, http.client.HTTPException):
                self.longest_gap = max(self.longest_gap, time.monotonic() - self._answered)
                return None
        assert response.status == 200, body
        self._answered = time.monotonic()
        return body

    def readings(self, until: object, deadline: float = PATIENCE) -> Iterator[str]:
        """Yield each page that is answered until `until()` is true and one more page was read after that."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            done = until()  # type: ignore[operator]
            page = self.page()
            if page is not None:
                yield page
                if done:
                    return
            time.sleep(0.05)
        raise AssertionError("it did not come about")


def total(page: str, name: str = "http_server_request_duration_seconds_count") -> float:
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


def gone_and_replaced(server: Server, pid: int, before: set[int]) -> object:
    """Return what tells whether the worker is gone and another process has come."""

    def happened() -> bool:
        now = {process.pid for process in server.descendants()}
        return not psutil.pid_exists(pid) and bool(now - before)

    return happened


def lose(server: Server, pid: int, number: int, scraper: Scraper) -> list[float]:
    """End a worker by a signal; return what each scrape read until another worker was there."""
    before = {process.pid for process in server.descendants()}
    os.kill(pid, number)
    return [total(page) for page in scraper.readings(gone_and_replaced(server, pid, before))]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name, marks=[pytest.mark.slow] * (row is not ROWS[1])) for row in ROWS]
)
def test_every_scrape_reads_what_was_counted(row: Row, tmp_path: Path, write_result):
    """120 requests over 4 workers read as 120 in every scrape, until after a worker is recycled and one is killed."""
    scraper = Scraper(free_port())
    with serve(row, environment(scraper.port), tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        sent = drive(server, REQUESTS)
        first = [total(page) for page in scraper.readings(lambda: total(scraper.page() or "") == REQUESTS)]
        killed = lose(server, holder(tmp_path), signal.SIGKILL, scraper)
        (other, *_) = {one.pid for one in sent} & {process.pid for process in server.descendants()} - {holder(tmp_path)}
        recycled = lose(server, other, signal.SIGTERM, scraper)
        server.wait_until_idle()
        drive(server, 8)
        last = [total(page) for page in scraper.readings(lambda: total(scraper.page() or "") >= REQUESTS + 8)]
        server.stop()
    write_result(
        {"row": row.name, "way": "prometheus", "workers": len({one.pid for one in sent}), "gap": scraper.longest_gap}
    )
    readings = (set(first[-1:] + killed + recycled), last[-1])
    assert ({float(REQUESTS)}, REQUESTS + 8.0) == readings, server.output[-3000:]
