"""Memory and queues of a process under load while its collector is away: `python -m benchmarks.outage [--seconds 300]`.

A child serves requests at a fixed rate through our middleware and exports over HTTP to a receiver in this process. For the
given time the receiver refuses (503); before and after that it takes everything for a tenth of it. Run once without and once
with the spool. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from benchmarks.processes import ERRORS, ROOT

PATIENCE = 60.0


def serve(seconds: float, rate: float) -> None:
    """Serve requests at this rate, and tell once a second how this process is; the child's part."""
    from opentelemetry import trace

    import otelfork
    from otelfork import OtelMiddleware, forks

    tracer = trace.get_tracer("outage")

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with tracer.start_as_current_span("work", attributes={"sql": "select " + "x" * 200}):
            start_response("200 OK", [("content-type", "text/plain")])
            return [b"done"]

    app = OtelMiddleware(application)
    worst, served = 0.0, 0
    begun = told = time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        if served < (now - begun) * rate:
            environ: dict[str, Any] = {}
            setup_testing_defaults(environ)
            before = time.perf_counter()
            answer: Any = app(environ, lambda *_: None)
            list(answer)
            if hasattr(answer, "close"):
                answer.close()
            worst = max(worst, time.perf_counter() - before)
            served += 1
        else:
            time.sleep(0.5 / rate)
        if now >= told + 1:
            told = now
            outbox: Any = forks.current().outbox  # type: ignore[union-attr]
            _tell(outbox, served, worst)
            worst = 0.0
    otelfork.flush(PATIENCE)
    _tell(outbox, served, worst)
    os._exit(0)


def _tell(outbox: Any, served: int, worst: float) -> None:
    spans = next(stream for stream in outbox.streams if stream.name == "spans")
    lost = {f"{signal} {reason}": count for (signal, reason), count in outbox._complaints.totals().items()}  # noqa: SLF001
    figures = {
        "rss": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize(),
        "queue": len(spans.queue),
        "waiting": spans.waiting,
        "served": served,
        "worst": worst,
        "cpu": time.process_time(),
        "lost": lost,
    }
    print(json.dumps(figures), flush=True)


def measure(seconds: float, rate: float, *, spool: bool) -> dict[str, Any]:
    """Run the child through an outage of so many seconds; return the figures."""
    from otelfork.receiver import ALWAYS, HTTP, Faults, Receiver

    calm = max(3.0, seconds / 10)
    with Receiver() as receiver, tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "spool")
        environment = {**os.environ, **receiver.environment(HTTP), "OTEL_LOGS_EXPORTER": "none"}
        if spool:
            environment["OTELFORK_SPOOL_DIR"] = str(directory)
        command = [sys.executable, "-m", "benchmarks.outage", "--serve", str(seconds + 2 * calm), "--rate", str(rate)]
        told: list[dict[str, Any]] = []
        largest = 0
        options: dict[str, Any] = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": ERRORS}
        with subprocess.Popen(command, text=True, **options) as child:
            begun = time.monotonic()
            for figures in _lines(child):
                at = time.monotonic() - begun
                away = calm <= at < calm + seconds
                wanted = Faults(refuse=ALWAYS) if away else Faults()
                if receiver.faults != wanted:
                    receiver.faults = wanted
                told.append({**figures, "away": away})
                largest = max(largest, sum(path.stat().st_size for path in directory.glob("*.spool")))
        spans = Counter(span.span_id for span in receiver.spans)
    return _summary(told, spans, largest)


def _lines(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    for line in child.stdout:
        yield json.loads(line)


def _summary(told: list[dict[str, Any]], spans: Counter[str], largest: int) -> dict[str, Any]:
    before = [each for each in told[1:] if not each["away"]][:2]
    away = [each for each in told if each["away"]]
    return {
        "requests served": told[-1]["served"],
        "spans recorded": 2 * told[-1]["served"],
        "spans received": len(spans),
        "spans received twice": sum(spans.values()) - len(spans),
        "lost, by reason": told[-1]["lost"] or "nothing",
        "RSS before (MiB)": _mib(max(each["rss"] for each in before)),
        "RSS at the outage's end (MiB)": _mib(away[-1]["rss"]),
        "RSS at most (MiB)": _mib(max(each["rss"] for each in told)),
        "queue at most (spans in memory)": max(each["queue"] for each in told),
        "waiting at most (memory and disk)": max(each["waiting"] for each in told),
        "spool at most (MiB)": _mib(largest),
        "slowest request before, in the outage (ms)": [
            round(1000 * max(each["worst"] for each in part), 1) for part in (before, away)
        ],
        "CPU of the outage (ms a request)": round(
            1000 * (away[-1]["cpu"] - away[0]["cpu"]) / max(1, away[-1]["served"] - away[0]["served"]), 3
        ),
    }


def _mib(size: int) -> float:
    return round(size / (1 << 20), 1)


def main() -> None:
    """Print the figures of both runs."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0, help="of the outage (20 for a quick look)")
    options.add_argument("--rate", type=float, default=200.0, help="requests a second, of two spans each")
    options.add_argument("--only", choices=("memory", "spool"), help="one of the two runs")
    options.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve:
        serve(chosen.serve, chosen.rate)
    names = [chosen.only] if chosen.only else ["memory", "spool"]
    found = {name: measure(chosen.seconds, chosen.rate, spool=name == "spool") for name in names}
    print(f"An outage of {chosen.seconds:g} s at {chosen.rate:g} requests a second\n")
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for figure in found[names[0]]:
        print(f"| {figure} | {' | '.join(str(found[name][figure]) for name in names)} |")


if __name__ == "__main__":
    main()
