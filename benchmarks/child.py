"""One variant in a process of its own: it answers commands on standard input, one JSON object a line.

    {"phase": "traceparent", "requests": 5000}  ->  {"thread": s, "process": s, "metrics": s, "requests": n, "measured": n}

`thread` is the CPU time of the request thread, `process` of the whole process until its queues are drained, one export
of its metrics included, `metrics` what such an export costs by itself.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import urllib.request
from typing import Any

from benchmarks import applications, driving
from benchmarks.memory import peak_memory
from benchmarks.variants import VARIANTS


class _Process:
    def __init__(self, name: str, interface: str) -> None:
        self.interface = interface
        self._sink = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
        self.app, self.drain = VARIANTS[name].build(getattr(applications, interface), interface)
        self._measured = 0

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one slice."""
        gc.collect()
        before = time.process_time()
        thread = self._drive(command)
        self.drain()
        process = time.process_time() - before
        again = time.process_time()
        counted = self.drain()
        metrics = time.process_time() - again
        counts = self._counts()
        total = counted if type(counted) is int else counts["measured"]
        measured, self._measured = total - self._measured, total
        return {
            "thread": thread,
            "process": process,
            "metrics": metrics,
            "requests": counts["requests"],
            "spans": counts["spans"],
            "measured": measured,
            "peak": peak_memory(),
        }

    def _drive(self, command: dict[str, Any]) -> float:
        phase, requests, first = command["phase"], command["requests"], command.get("first", 0)
        if self.interface == "wsgi":
            return driving.drive_wsgi(self.app, phase, requests, first)
        return driving.drive_asgi(self.app, phase, requests, first, command.get("concurrent", 1))

    def _counts(self) -> dict[str, int]:
        with urllib.request.urlopen(self._sink + "/counts", timeout=10) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


def main() -> None:
    """Serve commands until standard input closes."""
    name, interface = sys.argv[1:3]
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a variant prints must not be taken for a reply
    process = _Process(name, interface)
    replies.write("{}\n")
    for line in sys.stdin:
        replies.write(json.dumps(process.answer(json.loads(line))) + "\n")
    replies.flush()
    os._exit(0)  # everything is drained: no exit handler has anything to do


if __name__ == "__main__":
    main()
