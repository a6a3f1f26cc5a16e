"""`python -m tests.conformance.report`: runs every row over both protocols and writes `docs/conformance.md`.

The table comes from what the tests have measured, never from a hand. It ends with the mutations: what is turned
off, and which rows then fail, as they have to.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

from tests.conformance.rows import PROTOCOLS, ROWS
from tests.conformance.ways import WAYS

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs/conformance.md"
WORKERS = os.environ.get("WORKERS", "4")
PACKAGES = ("opentelemetry-sdk", "gunicorn", "gevent", "uvicorn", "uvicorn-worker", "hypercorn", "granian")
PACKAGES += ("uwsgi", "celery", "flask", "fastapi", "rotel")
COLUMNS: Mapping[str, str] = {
    "row": "server or way",
    "protocol": "protocol",
    "sent": "sent",
    "received": "received",
    "lost": "lost",
    "doubled": "doubled",
    "histogram": "histogram",
    "counted": "counter",
    "children": "child spans",
    "shared_ids": "shared ids",
    "workers": "processes",
    "stop_seconds": "stop (s)",
    "class": "exit",
}
WAY_COLUMNS: Mapping[str, str] = {
    "row": "server",
    "way": "way out",
    "sent": "sent",
    "received": "received",
    "lost": "lost",
    "doubled": "doubled",
    "recovered": "recovered",
    "failed": "unanswered",
    "stop_seconds": "stop (s)",
    "class": "class",
}
STORM_COLUMNS: Mapping[str, str] = {
    "storm": "forks during",
    "protocol": "protocol",
    "forks": "children",
    "told": "children that hung, failed",
    "arrived": "children whose span arrived",
    "repeated": "records of the parent sent again",
}
SCRAPE_COLUMNS: Mapping[str, str] = {
    "scraped": "server",
    "workers": "workers",
    "sent": "requests",
    "scrapes": "scrapes",
    "wrong": "with another total",
    "gap": "longest time without an answer (s)",
}
MUTATION_COLUMNS: Mapping[str, str] = {"turns_off": "turned off", "row": "row", "outcome": "how it failed"}


def main() -> int:
    """Run all, write the table, and return 0 only if every test passed and every row has left its figures."""
    with tempfile.TemporaryDirectory() as folder:
        status = _run_tests(Path(folder))
        found = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")]
    mutations = [result for result in found if "mutation" in result]
    ways = [result for result in found if "way" in result]
    storms = [result for result in found if "storm" in result]
    scrapes = [result for result in found if "scraped" in result]
    results = [result for result in found if "protocol" in result and "storm" not in result]
    missing = len(ROWS) * len(PROTOCOLS) - len(results) + len(WAYS) - len(ways)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(document(results, mutations, ways, storms, scrapes), encoding="utf-8")
    print(
        f"{TABLE.relative_to(ROOT)}: {len(results)} rows, {len(ways)} ways out, {missing} missing, {len(mutations)} mutations"
    )
    return status or int(missing > 0)


def _run_tests(folder: Path) -> int:
    """Run the conformance tests in parallel; pytest shows the progress."""
    command = [sys.executable, "-m", "pytest", "tests/conformance", "-m", "slow or not slow", "-n", WORKERS]
    command += ["--dist", "worksteal", "-o", "console_output_style=count", "--tb", "short"]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OTELFORK_TEST_RESULTS": str(folder)}, check=False
    ).returncode


def document(
    results: Iterable[Mapping[str, object]],
    mutations: Iterable[Mapping[str, object]],
    ways: Iterable[Mapping[str, object]] = (),
    storms: Iterable[Mapping[str, object]] = (),
    scrapes: Iterable[Mapping[str, object]] = (),
) -> str:
    """Return the page: what it was measured with, the rows in the order of the table, the ways out, the mutations."""
    order = {row.name: number for number, row in enumerate(ROWS)}
    ordered = sorted(results, key=lambda result: (order[str(result["row"])], str(result["protocol"]) != PROTOCOLS[0]))
    rows = [[str(result[name]) for name in COLUMNS] for result in ordered]
    notes = {f"- {row.name}: {row.note}" for row in ROWS if row.note}
    way_order = {(way.server, way.name): number for number, way in enumerate(WAYS)}
    left = sorted(ways, key=lambda result: way_order[str(result["row"]), str(result["way"])])
    tried = sorted([str(result[name]) for name in MUTATION_COLUMNS] for result in mutations)
    return "\n".join(
        (
            "# Conformance",
            "",
            "Written by `make conformance`; do not edit. Each row got its requests over loopback, was stopped with",
            "SIGTERM and compared with what a receiver had: the server spans, the count of the histogram",
            "`http.server.request.duration`, a counter and child spans of a tracer that were taken at import, the pids",
            "and the instance ids of processes that lived at one time.",
            "",
            f"Measured with Python {platform.python_version()} on {platform.system()} and {_packages()}.",
            "",
            *_table(list(COLUMNS.values()), rows),
            "",
            *sorted(notes),
            "",
            "## Ways out",
            "",
            "Each server was made to leave while requests ran. Sent are the requests that the application began (it says so",
            "itself). Clean: nothing may be lost. Killed: the requests that ran in the worker are recovered from the scoreboard",
            "with their own ids; lost are requests that the killed worker had finished since its last export, half a second apart",
            "here. The first half of the requests had been exported before: none of those may be lost. Unanswered are begun or",
            "queued requests whose client got no answer: those of a killed worker, and connections that the server itself breaks",
            "off when it stops.",
            "",
            *_table(list(WAY_COLUMNS.values()), [[str(result[name]) for name in WAY_COLUMNS] for result in left]),
            "",
            "## Storms",
            "",
            "Forks from a parent that is busy with telemetry. Every child records a span, a point and a log record and flushes;",
            "one that has not ended after ten seconds hung. Nothing may leave twice over http. gRPC's own threads and locks are",
            "not safe across a fork from a process that is busy inside it: there the figures are measured, and http is the advice.",
            "The call in flight is ended by a fork, and its records are sent again and counted: they may have arrived before.",
            "",
            *_table(
                list(STORM_COLUMNS.values()),
                sorted([str(result[name]) for name in STORM_COLUMNS] for result in storms),
            ),
            "",
            "## Prometheus",
            "",
            "The workers were scraped all the time after their requests, while the one on the port was killed and another one",
            "recycled. Every scrape has to read the number of the requests; the port is answered again within three seconds.",
            "",
            *_table(
                list(SCRAPE_COLUMNS.values()),
                sorted([str(result[name]) for name in SCRAPE_COLUMNS] for result in scrapes),
            ),
            "",
            "## Mutations",
            "",
            "A test that cannot fail shows nothing. Each of these parts of otelfork was turned off, and the row named",
            "beside it failed, as it has to (an empty last cell would be a test that notices nothing).",
            "",
            *_table(list(MUTATION_COLUMNS.values()), tried),
            "",
        )
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _packages() -> str:
    """Return name and version of the installed packages that the figures depend on."""
    installed = {found.metadata["Name"].lower(): found.version for found in distributions()}
    return ", ".join(f"{name} {installed[name]}" for name in PACKAGES if name in installed)


if __name__ == "__main__":
    sys.exit(main())
