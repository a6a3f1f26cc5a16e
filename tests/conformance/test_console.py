"""All signals on the console, and logs by way of Python's logging, behind real servers: what several processes print is whole."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conformance.driving import Sent, drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.serving import serve
from tests.conformance.test_logs import ON
from tests.conformance.test_logs import ROWS as LOGGING

SERVERS = ("gunicorn --preload", "gunicorn --preload recycling", "uvicorn --workers", "uwsgi")
CONSOLE = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")}


def printed(output: str) -> Iterator[dict[str, Any]]:
    """Return the JSON objects in what a server has printed; each begins a line."""
    decoder = json.JSONDecoder()
    at = 0
    while (begin := re.compile(r"^\{", re.MULTILINE).search(output, at)) is not None:
        found, at = decoder.raw_decode(output, begin.start())
        yield found


def spans(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return trace id, parent id and pid of each server span."""
    return sorted(
        (
            one["context"]["trace_id"].removeprefix("0x"),
            one["parent_id"].removeprefix("0x"),
            str(one["resource"]["attributes"]["process.pid"]),
        )
        for one in found
        if one.get("kind") == "SpanKind.SERVER"
    )


def lines(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return trace id and pid of each line of the application."""
    return sorted(
        (one["trace_id"].removeprefix("0x"), str(one["resource"]["attributes"]["process.pid"]))
        for one in found
        if str(one.get("body", "")).startswith("served ")
    )


def counted(found: list[dict[str, Any]]) -> int:
    """Return the requests that the last histogram of each process tells."""
    last: dict[str, int] = {}
    for one in found:
        for resource in one.get("resource_metrics", ()):
            pid = str(resource["resource"]["attributes"]["process.pid"])
            for metric in (metric for scope in resource["scope_metrics"] for metric in scope["metrics"]):
                if metric["name"] == "http.server.request.duration":
                    last[pid] = sum(point["count"] for point in metric["data"]["data_points"])
    return sum(last.values())


def run(
    name: str, environment: dict[str, str], requests: int, folder: Path, *, kill: bool = False
) -> tuple[list[Sent], str]:
    """Run a server; return its requests, and what it has printed."""
    row = Row(name=name, command=LOGGING[name][0], application=PROGRAMS)
    with serve(row, environment, folder, requests) as server:
        server.wait_until_ready()
        sent = drive(server, requests)
        if kill:
            deadline = time.monotonic() + 20
            while server.output.count("SpanKind.SERVER") < requests or server.output.count('"served ') < requests:
                assert time.monotonic() < deadline, server.output[-3000:]
                time.sleep(0.05)
            psutil.Process(sent[0].pid).kill()
            server.wait_until_idle()
            sent += drive(server, requests)
        if name == "uwsgi":
            server.wait_until_idle()
        server.stop()
    return sent, server.output


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [SERVERS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SERVERS[1:])])
def test_what_is_printed_is_whole_and_printed_once(name: str, requests: int, tmp_path: Path):
    """Spans, points and log records of all workers on one standard output."""
    sent, output = run(name, {**CONSOLE, **ON, "OTEL_METRIC_EXPORT_INTERVAL": "300"}, requests, tmp_path)
    found = list(printed(output))
    assert sorted((one.trace_id, one.span_id, str(one.pid)) for one in sent) == spans(found)
    assert sorted((one.trace_id, str(one.pid)) for one in sent) == lines(found)
    assert len(sent) == counted(found)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [SERVERS[0], *SERVERS[2:]])
def test_nothing_that_was_printed_is_printed_again_after_a_kill(name: str, requests: int, tmp_path: Path):
    """SIGKILL to a worker that had printed its own: its successor prints its own."""
    environment = {**CONSOLE, **ON, "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BLRP_SCHEDULE_DELAY": "50"}
    sent, output = run(name, environment, requests, tmp_path, kill=True)
    found = list(printed(output))
    assert sorted((one.trace_id, one.span_id, str(one.pid)) for one in sent) == spans(found)
    assert sorted((one.trace_id, str(one.pid)) for one in sent) == lines(found)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", SERVERS)
def test_the_logging_exporter_repeats_no_line_of_pythons_logging(name: str, requests: int, tmp_path: Path):
    """OTEL_LOGS_EXPORTER=logging: what is there already is printed once."""
    environment = {**CONSOLE, **ON, "OTEL_LOGS_EXPORTER": "logging"}
    sent, output = run(name, environment, requests, tmp_path)
    assert len(sent) == sum("INFO:shop:served" in line for line in output.splitlines()), output[-3000:]
