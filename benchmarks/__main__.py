"""`python -m benchmarks`: run the sections, check that everything was delivered, print and write the figures."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import figures, forking, report, scraping, sections, starting
from benchmarks.processes import ROOT, Sink
from benchmarks.variants import VARIANTS

Section = Callable[[sections.Plan, Sink, sections.Results], None]

SECTIONS: dict[str, Section] = {
    "wsgi": sections.in_process("wsgi"),
    "asgi": sections.in_process("asgi"),
    "ratio": sections.ratio,
    "excluded": sections.excluded,
    "extras": sections.extras,
    "concurrency": sections.concurrency,
    "servers": sections.servers,
    "memory": sections.memory,
}
REQUESTS = 8_000
"""In a slice, of which each ends with one export of the metrics. That costs about 1.5 ms and comes once in 60 s, whatever the
load: among 2,000 requests it weighed 0.8 us each, as much as a whole stage of a request; among 8,000 it weighs 0.2."""
OTHERS = ("encoder", "startup", "forking", "prometheus")


def main() -> int:
    """Run; the exit status is 1 if a variant did not deliver what it recorded."""
    arguments = _arguments()
    quick = arguments.quick
    plan = sections.Plan(
        rounds=arguments.rounds or (3 if quick else 15),
        requests=arguments.requests or (500 if quick else REQUESTS),
        starts=1 if quick else 3,
        memory_requests=arguments.memory_requests or (20_000 if quick else 1_000_000),
        variants=tuple(arguments.variants),
    )
    console = Console(width=140)
    wanted = arguments.only or [*SECTIONS, *OTHERS]
    run = _Run(plan)
    complete = not quick and not arguments.only and not arguments.variants
    directory = arguments.output or (ROOT / "docs" if complete else ROOT / "benchmarks" / "results")
    with Sink() as sink:
        for name in wanted:
            started = time.monotonic()
            print(f"{name} ", end="", file=sys.stderr, flush=True)
            run.measure(name, sink)
            run.write(directory)  # a run that is cut off leaves what it has finished
            print(f" {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    report.show(run.figures(), run.results.samples, run.starts, console)
    _say_delivery(run.results, console)
    return 1 if run.results.complaints else 0


class _Run:
    """What was measured so far."""

    def __init__(self, plan: sections.Plan) -> None:
        self._plan = plan
        self._encoder: list[figures.Figure] = []
        self.results = sections.Results()
        self.starts: dict[str, list[float]] = {}

    def measure(self, name: str, sink: Sink) -> None:
        """Run a section."""
        plan = self._plan
        if name == "startup":
            self.starts |= starting.measure(plan.rounds, sink)
        elif name == "forking":
            self.starts |= forking.measure(plan.rounds, sink)
        elif name == "prometheus":
            self.starts |= scraping.measure(plan.rounds)
        elif name == "encoder":
            self._encoder = _encoder(plan.rounds)
        else:
            SECTIONS[name](plan, sink, self.results)

    def figures(self) -> list[figures.Figure]:
        """Return the lines of the table."""
        return [*figures.comparisons(self.results.samples), *self._encoder]

    def write(self, directory: Path) -> None:
        """Write the files of what there is."""
        results = self.results
        about = {
            "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
            "requests": self._plan.requests,
            "rounds": self._plan.rounds,
            "delivered": {"checks": results.checked, "complaints": results.complaints},
        }
        report.write(directory, figures=self.figures(), samples=results.samples, starts=self.starts, about=about)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of each section (15; 3 with --quick)")
    parser.add_argument("--requests", type=int, help=f"requests in a slice ({REQUESTS}; 500 with --quick)")
    parser.add_argument(
        "--memory-requests", type=int, help="requests of the section memory (1,000,000; 20,000 with --quick)"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, in under two minutes")
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, *OTHERS], help="these sections only")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=[], help="these variants only")
    parser.add_argument("--output", type=Path, help="directory of the files; docs/ for a complete run")
    return parser.parse_args()


def _encoder(rounds: int) -> list[figures.Figure]:
    command = [sys.executable, "-m", "benchmarks.encoding", str(rounds * 2)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    samples = json.loads(done.stdout)
    return [
        figures.compared(f"encoder, per {what}", "the SDK's encoder", samples[name], samples["sdk"], target)
        for what, name, target in (("SDK span", "otelfork", 0.15), ("request span", "lane", 0.05))
    ]


def _say_delivery(results: sections.Results, console: Console) -> None:
    if results.complaints:
        console.print(f"[red]not delivered ({len(results.complaints)} of {results.checked} checks):[/]")
        for complaint in results.complaints[:20]:
            console.print("  " + complaint)
    elif results.checked:
        console.print(f"delivered: every span and point, in {results.checked} checks at the sink")


if __name__ == "__main__":
    sys.exit(main())
