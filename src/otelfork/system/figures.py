"""The host's figures as attributes of local root spans, from a sample that is at most a second old.

A request shall not pay for looking: a thread of the process takes a sample every 0.8 s, and the beginning of a span reads it.
Nor for packing: a sample is packed once for all spans that have it.
The names are those of a guide and stand in no convention.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from otelfork.lane import Companion, Shared

PERIOD_SECONDS = 0.8
OLDEST_SECONDS = 1.0
_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


class Figures(Companion):
    """Gives each local root span the figures of its moment. One per process generation."""

    def __init__(self) -> None:
        self._sampler = Sampler()
        self._stop = threading.Event()
        self._renew()

    def start(self) -> None:
        """Begin to renew the sample."""
        threading.Thread(target=self._run, name="otelfork-figures", daemon=True).start()

    def moment(self) -> Shared | None:
        """Return the sample, unless it is older than a second."""
        taken, shared = self._sample
        return shared if time.monotonic() - taken <= OLDEST_SECONDS else None

    def shutdown(self) -> None:
        """Stop the thread."""
        self._stop.set()

    def _renew(self) -> None:
        # One object, so that a reader finds all of one sample.
        self._sample = (time.monotonic(), Shared(self._sampler.take()))

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            self._renew()


class Sampler:
    """Takes samples; a figure that this host does not tell is left out."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._process = psutil.Process(os.getpid())
        self._limit = _limit(root)
        psutil.cpu_percent()  # the first reading is the beginning of the first interval

    def take(self) -> dict[str, Any]:
        """Return the figures by attribute: a share from 0 to 1, seconds, bytes."""
        times = psutil.cpu_times()
        figures: dict[str, Any] = {
            "system.cpu.usage": psutil.cpu_percent() / 100,
            "system.cpu.time": times.user + times.system,
            "system.memory.usage": self._process.memory_info().rss,
            "system.memory.limit": self._limit,
        }
        disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
        if disk is not None:
            figures["system.disk.io.bytes_read"] = disk.read_bytes
            figures["system.disk.io.bytes_written"] = disk.write_bytes
        if network is not None:
            figures["system.network.io.bytes_sent"] = network.bytes_sent
            figures["system.network.io.bytes_recv"] = network.bytes_recv
        return figures


def _limit(root: Path) -> int:
    """Return the bytes that the process may use: its control group's limit, or the host's memory."""
    total = int(psutil.virtual_memory().total)
    for name in _LIMITS:
        try:
            told = (root / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if told.isdigit():
            return min(total, int(told))
    return total
