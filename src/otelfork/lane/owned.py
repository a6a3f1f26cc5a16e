"""The figures of requests for a meter that is the user's own: it outlives forks, what is noted here does not.

Running requests are counted without a lock and observed at each collection. Where the meter's histograms are the SDK's own, the
other figures are noted too, and folded in by the same callback (see `folding`). Each process has a state of its own: a child
begins at zero, and a request that was begun before the fork is none of its.

Private names of the SDK: those of `folding`, for the histograms alone. An observable instrument is public.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk import metrics as sdk

from otelfork.lane.folding import Folding, fits, foldable
from otelfork.lane.noting import Batch, Entry, apart

FOLD_AT = 512
"""Entries after which a request folds what was noted, in 0.4 ms. A power of two."""
_PATIENCE_SECONDS = 1.0


class Noted(Folding):
    """What one process has noted for the instruments of one meter.

    Args:
        histograms: the meter's, of durations, of request and of response sizes; none where they are used one by one.
    """

    def __init__(self, histograms: Sequence[Any]) -> None:
        super().__init__(lambda: self.fold(0))
        self._instruments = histograms
        self.step = itertools.count(1).__next__
        if histograms:
            self.consumer: Any = histograms[0]._measurement_consumer
            self._others.append(self._look)
            self._look()

    def along(self, fold: Callable[[], None]) -> bool:
        """Return False: what others fold is collected by a meter of their own."""
        return False

    def batch(self, key: object, attributes: Mapping[str, Any]) -> Any:
        """Return where requests with these attributes are noted."""
        return _Noting(super().batch(key, attributes), self)

    def fold(self, patience: float = _PATIENCE_SECONDS) -> None:
        """Fold what was noted, in the process that noted it: a child inside a request of its parent has no part in it."""
        if os.getpid() == self._pid:
            super().fold(patience)

    def observe(self, options: CallbackOptions) -> Iterable[Observation]:
        """Fold, and return how many requests are running. A callback of an observable instrument."""
        return self._observe(options)

    def _look(self) -> None:
        self._readers = self.consumer._reader_storages


@final
class _Noting:
    """Notes requests with one attribute set."""

    __slots__ = ("_append", "_consumer", "_noted", "_step")

    def __init__(self, batch: Batch, noted: Noted) -> None:
        self._append = batch.entries.append
        self._noted = noted
        self._step = noted.step
        self._consumer = noted.consumer

    def add(self, entry: Entry) -> None:
        """Note a request. Takes no lock, but every now and then to fold: no thread of ours is there to do it."""
        noted = self._noted
        if self._consumer._reader_storages is not noted._readers:
            noted.fold()  # what waits is nothing of a reader that was added after it
        self._append(apart(entry))  # it may wait long, and nobody else holds the span by then
        if not self._step() & (FOLD_AT - 1):
            noted.fold(0)


@final
class Owned:
    """The figures of one meter of the user's, whatever process asks.

    Args:
        histograms: see `Noted`.
    """

    def __init__(self, histograms: Sequence[Any]) -> None:
        self.folds = bool(histograms)
        self._histograms = histograms
        self._states = {os.getpid(): Noted(histograms)}

    def here(self) -> Noted:
        """Return what this process has noted; a child lets go of its parent's, unread."""
        pid = os.getpid()
        found = self._states.get(pid)
        if found is None:
            # Atomic: of two threads that come first, one makes what both use.
            found = self._states.setdefault(pid, Noted(self._histograms))
            for other in [each for each in list(self._states) if each != pid]:
                self._states.pop(other, None)
        return found

    def observe(self, options: CallbackOptions) -> Iterable[Observation]:
        """Return how many requests are running; what has ended is folded before. A callback of an observable instrument."""
        return self.here().observe(options)


_owned: weakref.WeakKeyDictionary[Any, Owned] = weakref.WeakKeyDictionary()
"""One for all middlewares that share a meter: its observable instrument has one callback, which knows all requests."""


def owned(meter: Any, histograms: Sequence[Any], running: Mapping[str, Any], *, private: bool) -> Owned | None:
    """Return what takes the figures of a meter of the user's; None where its instruments have to be used themselves.

    Args:
        meter: the meter.
        histograms: of durations, of request and of response sizes.
        running: arguments of the instrument for running requests.
        private: whether private names may be used: else the histograms are left alone.
    """
    if not isinstance(meter, sdk.Meter):  # nobody knows whether another one ever observes
        return None
    found = _owned.get(meter)
    if found is None:
        folded = private and type(meter) is sdk.Meter and all(map(foldable, histograms)) and fits()
        made = Owned(tuple(histograms) if folded else ())
        found = _owned.setdefault(meter, made)
        if found is made:
            meter.create_observable_up_down_counter(callbacks=[made.observe], **running)
    return found
