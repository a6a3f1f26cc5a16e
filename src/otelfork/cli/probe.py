"""The program that `otelfork doctor` runs: a parent with live telemetry forks a child; both record and export one of each.

It writes a JSON line to a descriptor for each export and one for each process's end.
Standard output is left to console exporters.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger

import otelfork
from otelfork import exporters
from otelfork.settings import SIGNALS, Settings, SettingsError

PARENT, CHILD = "parent", "forked child"


class Probe:
    """What is told about this process and its children."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._parent = os.getpid()

    def tell(self, **facts: object) -> None:
        """Write one line in one piece."""
        process = PARENT if os.getpid() == self._parent else CHILD
        os.write(self._descriptor, (json.dumps({"process": process, **facts}) + "\n").encode())

    def watched(self, signal: str, factory: Callable[[], Any]) -> Callable[[], Any]:
        """Return the factory of exporters that tell of each export."""

        @functools.wraps(factory, assigned=())
        def make() -> Any:
            exporter = factory()
            export = exporter.export

            def told(batch: Any, *arguments: Any, **options: Any) -> Any:
                began, outcome = time.monotonic(), "an exception"
                try:
                    result = export(batch, *arguments, **options)
                    outcome = getattr(result, "name", "SUCCESS")
                    return result
                finally:
                    seconds = round(time.monotonic() - began, 3)
                    self.tell(signal=signal, exporter=type(exporter).__module__, outcome=outcome, seconds=seconds)

            exporter.export = told
            return exporter

        return make


def record() -> None:
    """Record a span, a point and a log record."""
    with trace.get_tracer("otelfork.doctor").start_as_current_span("otelfork doctor"):
        metrics.get_meter("otelfork.doctor").create_counter("otelfork.doctor.runs").add(1)
        record = LogRecord(body="otelfork doctor", severity_number=SeverityNumber.INFO, timestamp=time.time_ns())
        get_logger("otelfork.doctor").emit(record)


def main(descriptor: int) -> int:
    """Record and flush in the parent, then in a child that inherits all of it; return 0, or 2 for wrong settings."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    probe = Probe(descriptor)
    try:
        factories = exporters.factories(Settings.read())
        otelfork.configure(
            exporters={name: [probe.watched(name, make) for make in factories[name]] for name in SIGNALS}
        )
    except SettingsError as error:
        probe.tell(problem=str(error))
        return 2
    record()
    probe.tell(delivered=otelfork.flush())
    child = os.fork() if hasattr(os, "fork") else None
    if child == 0:
        record()
        probe.tell(delivered=otelfork.flush())
        os._exit(0)
    if child:
        os.waitpid(child, 0)
    return 0
