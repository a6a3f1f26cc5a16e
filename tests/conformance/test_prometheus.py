"""One page for all workers behind real servers: what was counted stays counted, whichever worker is recycled or killed."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import FASTAPI, FLASK, PROGRAMS, Row
from tests.conformance.scraping import PATIENCE, Scraper, environment, holder, total
from tests.conformance.serving import Server, free_port, serve

REQUESTS = 120
AFTERWARDS = 20
"""Scrapes after a worker was replaced."""
SILENT_SECONDS = 4.0
"""Less than a worker would lie still if it waited for a silent client: five seconds."""
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


def gone_and_replaced(server: Server, pid: int, before: set[int]) -> object:
    """Return what tells whether the worker is gone and another process has come."""

    def happened() -> bool:
        now = {process.pid for process in server.descendants()}
        return not psutil.pid_exists(pid) and bool(now - before)

    return happened


def lose(server: Server, pid: int, number: int, scraper: Scraper) -> list[float]:
    """End a worker by a signal; return what each scrape read until another worker was there, and some time after."""
    before = {process.pid for process in server.descendants()}
    os.kill(pid, number)
    pages = [*scraper.readings(gone_and_replaced(server, pid, before)), *(scraper.page() for _ in range(AFTERWARDS))]
    return [total(page) for page in pages if page is not None]


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
    read = [*first[-1:], *killed, *recycled]
    write_result(
        {
            "row": f"prometheus {row.name}",
            "scraped": row.name,
            "workers": len({one.pid for one in sent}),
            "sent": REQUESTS,
            "scrapes": len(read),
            "wrong": sum(value != REQUESTS for value in read),
            "gap": round(scraper.longest_gap, 2),
        }
    )
    assert ({float(REQUESTS)}, REQUESTS + 8.0) == (set(read), last[-1]), server.output[-3000:]


STARTS = (
    *(row for row in ROWS if "gevent" not in row.name),
    Row(
        "otelfork run gunicorn --preload",
        ("{bin}/otelfork", "run", "{bin}/gunicorn", *_GUNICORN[3:], "--preload", "app:app"),
        FLASK,
    ),
    Row("otelfork run uwsgi", ("{bin}/otelfork", "run", "{bin}/uwsgi", *ROWS[3].command[1:]), PROGRAMS, stop_idle=True),
    Row(
        "uvicorn --workers --interface wsgi",
        (*ROWS[-1].command[:-1], "--interface", "wsgi", "wsgi_app:app"),
        PROGRAMS,
        note="neither lifespan nor request: the worker is known while it imports the application",
    ),
)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("row", STARTS, ids=lambda row: row.name)
def test_the_endpoint_answers_before_any_request(row: Row, tmp_path: Path):
    """From the start of the workers, each of them with its process's figures."""
    scraper = Scraper(free_port())
    with serve(row, environment(scraper.port), tmp_path, 1) as server:
        server.wait_until_ready()
        pages = list(scraper.readings(lambda: started(scraper.page() or "") == int(WORKERS)))
        server.stop()
    assert int(WORKERS) == started(pages[-1]), server.output[-3000:]


def started(page: str) -> int:
    """Return how many workers show their own figures."""
    return sum(line.startswith("process_start_time_seconds{") for line in page.splitlines())


@pytest.mark.timeout(120)
def test_a_second_server_runs_on_without_the_port_and_gets_it_when_it_is_free(tmp_path: Path):
    """It says who has the port, answers its clients, and serves its own page once the first has ended."""
    scraper = Scraper(free_port())
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    shared = {**environment(scraper.port), "OTELFORK_RUN_DIR": str(tmp_path / "run")}
    with serve(ROWS[0], shared, tmp_path, 1) as first:
        first.wait_until_ready()
        drive(first, 3)
        holding = holder(tmp_path)
        with serve(ROWS[0], {**shared, "OTEL_SERVICE_NAME": "second"}, second_folder, 1) as second:
            second.wait_until_ready()
            drive(second, 5)
            said = wait_for(lambda: f"process {holding} of the service conformance has it" in second.output)
            before = total(scraper.page() or "")
            first.stop()
            after = [total(page) for page in scraper.readings(lambda: total(scraper.page() or "") == 5)]
            lines = [line for line in second.output.splitlines() if "has it" in line]
            second.stop()
    assert (True, 3.0, 5.0, 1) == (said, before, after[-1], len(lines)), second.output[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_silent_clients_do_not_block_the_hub_of_gevent(tmp_path: Path):
    """A worker that waits for a client of its port goes on answering requests."""
    scraper = Scraper(free_port())
    with serve(ROWS[2], environment(scraper.port), tmp_path, 1) as server:
        server.wait_until_ready()
        drive(server, 8)
        assert wait_for(scraper.page)
        silent = [socket.create_connection(("127.0.0.1", scraper.port)) for _ in range(4)]
        sent = drive(server, REQUESTS)
        for each in silent:
            each.close()
        server.stop()
    slowest = max(one.ended - one.begun for one in sent)
    assert (REQUESTS, True) == (len(sent), slowest < SILENT_SECONDS), server.output[-3000:]


def wait_for(condition) -> bool:
    """Wait until a condition is true; return whether it is."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())
