"""The figures of requests, noted without a lock on the request path and folded into the SDK's histograms before they are read.

A request appends its span. The exporter thread folds what has come together about as often as it sends spans, and every
collection of every reader does before it reads: the callback of `http.server.active_requests` runs first in each. The state
belongs to one generation: a child begins with nothing, and what the parent has noted the parent folds.

Private names of the SDK used here, because its API takes one measurement at a time, at 12 microseconds each:

1. `_measurement_consumer`, `_is_enabled` of a histogram; `_reader_storages`, `_sdk_config` of its consumer.
2. `_get_or_init_view_instrument_match` of a storage; `_view`, `_lock`, `_attributes_aggregation`,
   `_previous_collection_start_nanos` of what that returns, and those of `series`; `_attribute_keys` of a view.
3. `_ExplicitBucketHistogramAggregation` with `_lock _value _sum _min _max _boundaries _record_min_max _reservoir
   _start_time_unix_nano _previous_collection_start_nano`; `_DropAggregation`; `Measurement`; `_hash_attributes`.

The probe is in `fits`: it measures both ways and compares the points. The public fallback is the instruments themselves.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otelfork.lane.buckets import add
from otelfork.lane.noting import MOST, Active, Batch, Entry, Figures
from otelfork.lane.series import aggregation_of

_flags_of = attrgetter("flags")
_PATIENCE_SECONDS = 1.0


class Folding:
    """The figures of the requests of one generation.

    Args:
        wake: called when there is enough to fold; it may be called on the request path.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._instruments: Sequence[Any] = ()
        self._batches: dict[Any, Batch] = {}
        self._actives: dict[Any, Active] = {}
        self._others: list[Callable[[], None]] = []
        self._readers: Mapping[Any, Any] | None = None
        """What readers collect, by reader, that is folded into; None is all that there are then."""

    def join(self, instruments: Sequence[Any], meter: Meter, running: Mapping[str, Any]) -> bool:
        """Fold for these instruments from now on; False where they have to be used one by one.

        Args:
            instruments: the SDK's histograms of durations, of request and of response sizes.
            meter: the meter that they are of.
            running: arguments of the instrument for running requests.
        """
        with self._lock:
            if self._instruments:
                return True
            if not all(map(foldable, instruments)) or not fits():
                return False
            meter.create_observable_up_down_counter(callbacks=[self._observe], **running)
            self._instruments = tuple(instruments)
            return True

    def along(self, fold: Callable[[], None]) -> bool:
        """Call this too whenever figures are folded; False where no collection would wait for it."""
        if self._instruments:
            self._others.append(fold)
        return bool(self._instruments)

    def batch(self, key: object, attributes: Mapping[str, Any]) -> Batch:
        """Return where requests with these attributes are noted. The number of keys is for the caller to bound."""
        return self._batches.setdefault(key, Batch(attributes))

    def active(self, key: object, attributes: Mapping[str, Any]) -> Active:
        """Return where running requests with these attributes are counted."""
        return self._actives.setdefault(key, Active(attributes))

    def hurry(self) -> None:
        """Have the batches folded, as `OFTEN` requests have ended; here, where the exporter thread did not come for long."""
        if os.getpid() != self._pid:
            return  # a child inside a request of its parent: what it notes here nobody reads
        self._wake()
        if sum([len(batch.entries) for batch in list(self._batches.values())]) >= MOST:
            self.fold(patience=0)

    def fold(self, patience: float = _PATIENCE_SECONDS) -> None:
        """Fold what was noted into the instruments; waits so many seconds for another thread that does."""
        # Not for ever: a signal handler may flush while its own thread is in here.
        if not self._lock.acquire(timeout=patience):
            return
        try:
            for batch in list(self._batches.values()):
                entries = batch.entries
                if entries:
                    self._fold(batch.attributes, batch.taken())
            for other in self._others:
                other()
        finally:
            self._lock.release()

    def _fold(self, attributes: Mapping[str, Any], entries: list[Entry]) -> None:
        columns: tuple[list[Any], ...] = (
            [entry.seconds for entry in entries],
            [entry.received for entry in entries],
            [entry.sent for entry in entries],
        )
        flags = set(map(_flags_of, entries))
        for instrument, values in zip(self._instruments, columns, strict=True):
            if None in values:
                noted = [(value, entry) for value, entry in zip(values, entries, strict=True) if value is not None]
                measured, entries_of = [value for value, _ in noted], [entry for _, entry in noted]
                fold(instrument, attributes, measured, entries_of, self._readers, flags)
            else:
                fold(instrument, attributes, values, entries, self._readers, flags)

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        self.fold()
        return [Observation(active.running(), active.attributes) for active in list(self._actives.values())]


def fold(  # noqa: PLR0917
    instrument: Any,
    attributes: Mapping[str, Any],
    values: Sequence[float],
    entries: Sequence[Entry],
    readers: Any = None,
    flags: set[int] | None = None,
) -> None:
    """Record values as if each had been recorded by itself.

    Args:
        instrument: a histogram of the SDK's.
        attributes: of all values.
        values: the values.
        entries: what else is known of each, for exemplars and times.
        readers: see `Folding`; None for all.
        flags: those of the entries, or of more than these; None where nobody has looked.
    """
    if not values or not instrument._is_enabled():
        return
    if flags is None:
        flags = set(map(_flags_of, entries))
    consumer = instrument._measurement_consumer
    exemplary = _EXEMPLARY[type(consumer._sdk_config.exemplar_filter)]
    for storage in (consumer._reader_storages if readers is None else readers).values():
        for match in storage._get_or_init_view_instrument_match(instrument):
            _into(match, instrument, attributes, values, entries, exemplary, flags)


def _into(  # noqa: PLR0917
    match: Any,
    instrument: Any,
    attributes: Mapping[str, Any],
    values: Sequence[float],
    entries: Sequence[Entry],
    exemplary: Callable[[int], Any],
    flags: set[int],
) -> None:
    wanted = match._view._attribute_keys
    kept = {name: value for name, value in attributes.items() if wanted is None or name in wanted}
    key = internal()._hash_attributes(kept)
    with match._lock:
        fresh = key not in match._attributes_aggregation
        aggregation = aggregation_of(match, key, kept)
        kind = type(aggregation)
        if kind is internal()._ExplicitBucketHistogramAggregation:
            if fresh and getattr(match, "_previous_collection_start_nanos", None) is None:  # 1.45.1 has none
                # As if made at the first measurement, which it was made for.
                aggregation._start_time_unix_nano = aggregation._previous_collection_start_nano = min(
                    entries[0].finished, aggregation._start_time_unix_nano
                )
            positions = add(aggregation, values, _offered(entries, exemplary, flags))
        elif kind is internal()._DropAggregation:
            return
        else:
            for position, value in enumerate(values):
                made = _measurement(instrument, value, attributes, entries[position])
                aggregation.aggregate(made, bool(exemplary(entries[position].flags)))
            return
    for position in positions:
        made = _measurement(instrument, values[position], attributes, entries[position])
        aggregation._sample_exemplar(made, True)


def _offered(entries: Sequence[Entry], exemplary: Callable[[int], Any], flags: set[int]) -> Sequence[Any]:
    """Return for each entry whether it may be an exemplar; nothing where none may."""
    wanted = {each for each in flags if exemplary(each)}
    if wanted == flags:
        return range(1, len(entries) + 1)  # all of them, at the price of none
    return [entry.flags in wanted for entry in entries] if wanted else ()


def _measurement(instrument: Any, value: float, attributes: Mapping[str, Any], entry: Entry) -> Any:
    return internal().Measurement(value, entry.finished, instrument, _context(entry), attributes)


def _context(entry: Entry) -> Context:
    """Return a context with the request's span in it."""
    ids = int.from_bytes(entry.trace_bytes, "big"), int.from_bytes(entry.id_bytes, "big")
    span = NonRecordingSpan(SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(entry.flags)))
    return trace.set_span_in_context(span, Context())


_EXEMPLARY: dict[type, Callable[[int], Any]] = {
    sdk.TraceBasedExemplarFilter: lambda flags: flags & TraceFlags.SAMPLED,
    sdk.AlwaysOnExemplarFilter: lambda _: True,
    sdk.AlwaysOffExemplarFilter: lambda _: False,
}


def foldable(instrument: Any) -> bool:
    """Tell whether a histogram is the SDK's own, behind one of its own exemplar filters."""
    consumer = getattr(instrument, "_measurement_consumer", None)
    exemplar_filter = getattr(getattr(consumer, "_sdk_config", None), "exemplar_filter", None)
    return isinstance(instrument, sdk.Histogram) and type(exemplar_filter) in _EXEMPLARY


@cache
def internal() -> Any:
    """Return the SDK's private names that are used here."""
    from opentelemetry.sdk.metrics._internal import _view_instrument_match, aggregation, measurement

    class Internal:
        _hash_attributes = staticmethod(_view_instrument_match._hash_attributes)
        _ExplicitBucketHistogramAggregation = aggregation._ExplicitBucketHistogramAggregation
        _DropAggregation = aggregation._DropAggregation
        Measurement = measurement.Measurement

    return Internal


@cache
def fits() -> bool:
    """Probe, once: histograms that were fed both ways are the same."""
    try:
        return _probed(folded=True) == _probed(folded=False)
    except Exception:
        return False


def _probed(*, folded: bool) -> list[Any]:
    reader = InMemoryMetricReader()
    only_sampled, nobody = sdk.TraceBasedExemplarFilter(), Resource.get_empty()
    provider = sdk.MeterProvider([reader], nobody, exemplar_filter=only_sampled, shutdown_on_exit=False)
    histogram: Any = provider.get_meter("otelfork.probe").create_histogram(
        "probe", explicit_bucket_boundaries_advisory=(1.0, 2.0)
    )
    entries: list[Entry] = [
        Figures(n * 0.6, None, None, n, b"1" * 16, n.to_bytes(8, "big"), n & 1) for n in range(1, 6)
    ]
    found = []
    for part in (entries[:3], entries[3:]):
        if folded:
            fold(histogram, {"key": "value"}, [entry.seconds for entry in part], part)
        else:
            for entry in part:
                histogram.record(entry.seconds, {"key": "value"}, _context(entry))
        data: Any = reader.get_metrics_data()
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        seen = [(exemplar.value, exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars]
        found.append((point.attributes, point.count, point.sum, point.min, point.max, point.bucket_counts, seen))
    return found
