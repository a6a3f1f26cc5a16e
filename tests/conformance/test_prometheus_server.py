"""A real Prometheus scrapes the workers; what it has stored is asked of its HTTP API."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.driving import drive
from tests.conformance.rows import PROGRAMS, Row
from tests.conformance.scraping import COUNT, PATIENCE, environment
from tests.conformance.serving import free_port, serve

REQUESTS = 120
_CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs: [{{job_name: shop, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""
SERVER = Row(
    "gunicorn --preload",
    ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "4", "--preload", "wsgi_app:app"),
    PROGRAMS,
    preload=True,
)


class Prometheus:
    """A running Prometheus that scrapes one port."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target

    def ask(self, path: str, **query: Any) -> Any:
        """Return the data of an answer of its API, or None while it gives none."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def value(self, query: str) -> float:
        """Return the value of an expression with one result, or -1."""
        found = (self.ask("query", query=query) or {"result": []})["result"]
        return float(found[0]["value"][1]) if found else -1.0

    def wait_for(self, query: str, value: float) -> float:
        """Return the value of an expression when it is the given one, or the last one."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.value(query)) != value and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """Run Prometheus with a storage for exemplars."""
    command = shutil.which("prometheus")
    if command is None:
        pytest.skip("prometheus is not installed")
    folder = tmp_path / "prometheus"
    folder.mkdir()
    found = Prometheus(free_port(), free_port())
    (folder / "prometheus.yml").write_text(_CONFIGURATION.format(port=found.target))
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    options += [f"--web.listen-address=127.0.0.1:{found.port}", "--enable-feature=exemplar-storage"]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield found
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_prometheus_reads_what_was_counted(prometheus: Prometheus, tmp_path: Path):
    """The total of all workers, types and units, each worker's process, and exemplars that lead to the traces."""
    began = time.time()
    with serve(SERVER, environment(prometheus.target), tmp_path, REQUESTS) as server:
        server.wait_until_ready()
        sent = drive(server, REQUESTS)
        count = prometheus.wait_for(f"sum({COUNT})", REQUESTS)
        workers = prometheus.wait_for("count(process_resident_memory_bytes)", 4)
        work = prometheus.wait_for("app_work_total", REQUESTS)
        targets = prometheus.wait_for("count(target_info)", 1)
        kind = prometheus.ask("metadata", metric="http_server_request_duration_seconds")
        stored = prometheus.ask(
            "query_exemplars", query=f"{COUNT.removesuffix('count')}bucket", start=began - 60, end=time.time() + 60
        )
        healthy = [target["health"] for target in prometheus.ask("targets")["activeTargets"]]
        server.stop()
    traces = {exemplar["labels"]["trace_id"] for series in stored for exemplar in series["exemplars"]}
    described = [(each["type"], each["unit"]) for each in kind["http_server_request_duration_seconds"]]
    assert (REQUESTS, 4, REQUESTS, 1, [("histogram", "seconds")], ["up"]) == (
        count,
        workers,
        work,
        targets,
        described,
        healthy,
    )
    assert traces
    assert traces <= {one.trace_id for one in sent}
