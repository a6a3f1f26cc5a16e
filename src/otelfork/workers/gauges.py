"""Processor and memory of this worker as gauges, by psutil.

A `psutil.Process` that was made before a fork goes on telling the parent's figures, so each worker makes its own, and a process
that is forked from a worker tells nothing.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from otelfork import semconv
from otelfork.settings import SettingsError
from otelfork.version import __version__

_SCOPE = "otelfork"
_SHORTEST_SECONDS = 0.5
"""Two readers that collect at the same moment are told the same: a share of so short a time is noise."""
_on: set[int] = set()
"""The process that tells its figures, and those that it was forked from."""


def check() -> None:
    """Import what the gauges need, before there are workers.

    Raises:
        SettingsError: the extra `gunicorn` is not installed.
    """
    try:
        importlib.import_module("psutil")
    except ImportError as error:
        expected = f"the extra to be installed: pip install 'otelfork[gunicorn]' ({error})"
        raise SettingsError("OTEL_GUNICORN_TRACE_WORKERS", "true", expected) from error


def start(server: str, identity: Mapping[str, int]) -> None:
    """Make the gauges `{server}.worker.cpu.percent` and `{server}.worker.memory.rss` of this process.

    Args:
        server: their prefix.
        identity: the attributes of each point.
    """
    import psutil

    figures = Figures(psutil.Process(os.getpid()))
    meter = metrics.get_meter(_SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
    for name, unit, description, read in (
        (
            "cpu.percent",
            "%",
            "Processor time of the worker, as a share of one processor, since the last time.",
            figures.cpu,
        ),
        ("memory.rss", "By", "Memory of the worker that is not swapped out.", figures.memory),
    ):
        meter.create_observable_gauge(
            f"{server}.worker.{name}", callbacks=[_callback(read, dict(identity))], unit=unit, description=description
        )


@final
class Figures:
    """What a process uses."""

    __slots__ = ("_cpu", "_process", "_read_at")

    def __init__(self, process: Any) -> None:
        self._process = process
        self._read_at = time.monotonic()
        self._cpu = float(process.cpu_percent())  # the first reading is the beginning of the first interval

    def cpu(self) -> float:
        """Return the percentage of one processor since the last reading; of several, more than 100."""
        now = time.monotonic()
        if now - self._read_at >= _SHORTEST_SECONDS:
            self._cpu, self._read_at = float(self._process.cpu_percent()), now
        return self._cpu

    def memory(self) -> int:
        """Return bytes."""
        return int(self._process.memory_info().rss)


def _callback(
    read: Callable[[], float], attributes: Mapping[str, int]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    pid = os.getpid()
    _on.add(pid)
    return lambda _: [Observation(read(), attributes)] if os.getpid() == pid and pid in _on else ()


def stop() -> None:
    """Tell nothing more of this process."""
    _on.discard(os.getpid())
