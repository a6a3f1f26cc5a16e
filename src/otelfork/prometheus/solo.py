"""The page of a process without a run: nobody to add up with, and nobody who would know its figures after it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from otelfork.prometheus.families import Families
from otelfork.prometheus.snapshots import SECONDS, Take

_logger = logging.getLogger("otelfork")


class Solo:
    """What `Snapshots` is for one process of many, with the same methods."""

    def __init__(self, take: Take, chore: Callable[[], None]) -> None:
        self._take = take
        self._chore = chore
        self._gate = threading.RLock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread that contends for the port."""
        try:
            threading.Thread(target=self._run, name="otelfork-snapshots", daemon=True).start()
        except RuntimeError as error:
            _logger.error("the metrics of this process cannot be scraped: %s", error)

    def pause(self, deadline: float) -> bool:
        """See `Snapshots.pause`."""
        return self._gate.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def resume(self) -> None:
        """See `Snapshots.resume`."""
        self._gate.release()

    def hurry(self) -> Callable[[float], bool]:
        """There is nothing to bring up to date: each scrape collects."""
        return lambda _: True

    def stop(self, deadline: float) -> None:
        """End the thread."""
        self._stopped.set()

    def scrape(self) -> tuple[Families, Mapping[str, str]]:
        """Collect; for any thread."""
        with self._gate:
            return self._take()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._gate:
                    self._chore()
            except Exception:
                _logger.exception("the port of the metrics could not be looked after")
            self._stopped.wait(SECONDS)
