"""What telemetry adds to a fork: from the call of os.fork to the child's first line, and to the parent's next one.

One process with a live generation and one without take turns; each has exported, so that its connection is open. The child
writes the clock's reading (one clock for all processes) into a pipe and leaves.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from benchmarks.processes import ROOT, Sink
from benchmarks.variants import environment

FORKS = 200
_SCRIPT = """
import json, os, struct, sys, time
from benchmarks import applications, driving
from otelfork import OtelMiddleware, flush
app = OtelMiddleware(applications.wsgi)
if sys.argv[1] == "live":
    driving.drive_wsgi(app, "traceparent", 100)
    flush(10)
reading, writing = os.pipe()
child, parent = [], []
for _ in range(int(sys.argv[2]) + 3):
    began = time.monotonic_ns()
    if os.fork() == 0:
        os.write(writing, struct.pack("q", time.monotonic_ns()))
        os._exit(0)
    parent.append((time.monotonic_ns() - began) / 1e6)
    child.append((struct.unpack("q", os.read(reading, 8))[0] - began) / 1e6)
    os.wait()
# Not the first three: they copy pages that are the parent's own from then on.
print(json.dumps({"child": child[3:], "parent": parent[3:]}), flush=True)
os._exit(0)
"""


def measure(rounds: int, sink: Sink) -> dict[str, list[float]]:
    """Return samples by name, in milliseconds: of each round the median and the 99th percentile that telemetry adds."""
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        bare, live = _forks("bare", sink), _forks("live", sink)
        for side, where in (("child", "the child's first line"), ("parent", "the parent's next line")):
            for name, percent in (("p50", 50), ("p99", 99)):
                added = _percentile(live[side], percent) - _percentile(bare[side], percent)
                samples.setdefault(f"a live generation adds to {where}, {name} ms", []).append(added)
    sink.take()
    return samples


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _forks(kind: str, sink: Sink) -> dict[str, list[float]]:
    env = {**os.environ, **environment(sink.endpoint)}
    command = [sys.executable, "-c", _SCRIPT, kind, str(FORKS)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    taken: dict[str, list[float]] = json.loads(done.stdout)
    return taken
