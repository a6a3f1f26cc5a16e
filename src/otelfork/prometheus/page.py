"""This process's part in the page of its run: what it has counted, and, if it gets the port, the endpoint for all.

It belongs to one generation. Without a scoreboard there is no run, and the page is this process's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from opentelemetry.sdk.metrics.export import ResourceMetrics

from otelfork.delivery.flushing import suppressed
from otelfork.prometheus import exposition
from otelfork.prometheus.contender import Contender
from otelfork.prometheus.conversion import Conversion
from otelfork.prometheus.families import Families, merge
from otelfork.prometheus.holders import Holders
from otelfork.prometheus.naming import labels_of
from otelfork.prometheus.processes import Process
from otelfork.prometheus.reader import PageReader
from otelfork.prometheus.scrape import scrape
from otelfork.prometheus.slots import Slots
from otelfork.prometheus.snapshots import Snapshots
from otelfork.prometheus.solo import Solo
from otelfork.settings.prometheus import PrometheusSettings


class Place(Protocol):
    """A process's place in its run (see `scoreboard.Scoreboard`)."""

    directory: Path
    run: str
    service: str
    slot: int

    def leads(self) -> bool:
        """Tell whether this process speaks for its run."""


class Page:
    """The page of a run, as one of its processes makes and serves it.

    Args:
        settings: the address and the modes.
        place: this process's place; None where it is alone.
        prepare: to be called before each collection, on the thread that collects.
        port: whether to contend for the port; otherwise the page is served inside the application only.
    """

    def __init__(
        self, settings: PrometheusSettings, place: Place | None, *, prepare: Callable[[], None], port: bool
    ) -> None:
        self.reader = PageReader()
        self.beside: Callable[[], ResourceMetrics | None] = _none
        """What one worker at a time tells of the server as a whole."""
        self._prepare = prepare
        self._conversion = Conversion(settings.gauges, None if place is None else str(place.slot))
        self._process = Process()
        self._resource: Mapping[str, str] | None = None
        holders = None if place is None else Holders(place.directory, place.run, place.service)
        self._contender = Contender(settings, holders, self.answer, leads=_always if place is None else place.leads)
        chore = self._contender.contend if port else _nothing
        self._work: Snapshots | Solo
        if place is None:
            self._work = solo = Solo(self._take, chore)
            self._gather = solo.scrape
        else:
            slots = Slots(place.directory, place.run)
            self._work = Snapshots(self._take, slots, place.slot, chore)
            self._gather = lambda: scrape(slots)

    def start(self) -> None:
        """Begin to keep this process's part up to date, and to contend for the port."""
        self._work.start()

    def pause(self, deadline: float) -> bool:
        """Keep collections from beginning until `resume`, on the same thread; False past the monotonic deadline."""
        return self._work.pause(deadline)

    def resume(self) -> None:
        """Let collections go on."""
        self._work.resume()

    def hurry(self) -> Callable[[float], bool]:
        """Have this process's part brought up to date; return what waits for it until a monotonic deadline."""
        return self._work.hurry()

    def stop(self, deadline: float) -> None:
        """Give up the port, and write nothing from now on: the slot may be somebody else's soon."""
        self._contender.close()
        self._work.stop(deadline)

    def answer(self, accept: str, accept_encoding: str) -> tuple[dict[str, str], bytes]:
        """Scrape the run; return headers and body of the page in the format asked for (headers of a request, or "")."""
        families, target = self._gather()
        return exposition.render(families, target, accept=accept, accept_encoding=accept_encoding)

    def _take(self) -> tuple[Families, Mapping[str, str]]:
        with suppressed():
            self._prepare()
            data = self.reader.read()
        found = self._conversion.families(data.resource_metrics)
        whole = self.beside()
        if whole is not None:
            merge(found, self._conversion.families([whole], whole=True))
        merge(found, self._process.families(self._conversion.own))
        for each in data.resource_metrics if self._resource is None else ():
            self._resource = labels_of(each.resource.attributes)  # a process has one
        return found, self._resource or {}


def _always() -> bool:
    return True


def _none() -> None:
    """Nobody tells anything of the server."""


def _nothing() -> None:
    """The page is served inside the application only."""
