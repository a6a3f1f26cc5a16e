"""The names that GunicornInstrumentor documents for a request, made of what is known of it anyway.

A span `gunicorn.request` with `http.method`, `http.target`, `http.status_code` and two events; the counter `gunicorn.requests` and
the histogram `gunicorn.request.duration`. It must not know environ, scope or gunicorn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, final

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter

from otelfork import semconv
from otelfork.lane import folding as lane
from otelfork.lane.noting import Batch, Entry
from otelfork.proxies import ProxyHistogram
from otelfork.request.instruments import SCOPE
from otelfork.request.naming import Measure
from otelfork.settings.gunicorn import REQUEST, named_by_route
from otelfork.version import __version__

METHOD, TARGET, STATUS = "http.method", "http.target", "http.status_code"
STARTED, COMPLETED = "request.start", "request.completion"
REQUESTS_METRIC = "gunicorn.requests"
DURATION_METRIC = "gunicorn.request.duration"

_SAME = {semconv.URL_PATH: TARGET, semconv.HTTP_RESPONSE_STATUS_CODE: STATUS}
_OVERFLOW: dict[str, str | int | bool] = {semconv.METRIC_OVERFLOW: True}
Sink: TypeAlias = "Callable[[Entry, Context], object]"


class GunicornNames:
    """The second set of names of this process's requests (see `otelfork.request.naming.Names`).

    Args:
        meter_provider: of the two metrics; the global one by default.

    Raises:
        SettingsError: OTELFORK_GUNICORN_SPAN_NAME cannot be used.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        self._provider = meter_provider
        self.name = None if named_by_route() else REQUEST
        self.marks = (STARTED, COMPLETED)
        self._figures: Figures | None = None

    def named(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """See `Names.named`. An unknown method is the one that was sent."""
        added = {other: found[stable] for stable, other in _SAME.items() if stable in found}
        method = found.get(semconv.HTTP_REQUEST_METHOD_ORIGINAL, found.get(semconv.HTTP_REQUEST_METHOD))
        if method is not None:
            added[METHOD] = method
        return {**found, **added}

    def measure(self, folding: Any, method: str, route: str | None, status: int | None, limit: int) -> Measure:
        """See `Names.measure`. The target is the route; without one the path of each request."""
        figures = self._figures
        if figures is None or figures.folding is not folding:
            figures = self._figures = Figures(folding, limit, self._provider)
        sink = figures.sink
        if route is None:
            return lambda path, noted, context: sink(method, path, status, a_path=True)(noted, context)
        routed = sink(method, route, status, a_path=False)
        return lambda _, noted, context: routed(noted, context)

    def recovered(self, name: str, attributes: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """See `Names.recovered`."""
        return self.name or name, self.named(attributes)


@final
class Figures:
    """The two instruments, and their attribute sets, which are bounded: a path comes from the client, and a scanner knows many.

    Args:
        folding: takes figures in place of the instruments, until they are collected; or None.
        limit: attribute sets per instrument, the overflow set included.
        provider: of the instruments; None is the global one.
    """

    def __init__(self, folding: Any, limit: int, provider: MeterProvider | None = None) -> None:
        meter = get_meter(SCOPE, __version__, provider, semconv.SCHEMA_URL)
        self._requests = meter.create_counter(
            REQUESTS_METRIC, unit="{request}", description="Total number of HTTP requests"
        )
        self._duration = meter.create_histogram(
            DURATION_METRIC,
            unit="s",
            description="Request duration in seconds",
            explicit_bucket_boundaries_advisory=semconv.DURATION_BOUNDARIES,
        )
        self.folding = folding
        self._limit = limit
        self._sinks: dict[tuple[str, str, int | None], Sink] = {}
        self._paths = 0
        self._batches: list[Batch] = []
        real: Any = self._duration.real() if isinstance(self._duration, ProxyHistogram) else None
        self._real = real if folding is not None and lane.foldable(real) and folding.along(self.fold) else None
        self._overflow = self._sink(_OVERFLOW)

    def sink(self, method: str, target: str, status: int | None, *, a_path: bool) -> Sink:
        """Return what takes the figures of requests with these attributes.

        Paths may take half of the sets: they shall not push routes into the overflow set.
        """
        key = (method, target, status)
        found = self._sinks.get(key)
        if found is not None:
            return found
        # Two threads may both pass a limit: it is then over by one, and no lock is needed.
        if len(self._sinks) >= self._limit - 1 or (a_path and self._paths >= self._limit // 2):
            return self._overflow
        self._paths += a_path
        attributes: dict[str, str | int | bool] = {METHOD: method, TARGET: target}
        if status is not None:
            attributes[STATUS] = status
        return self._sinks.setdefault(key, self._sink(attributes))

    def _sink(self, attributes: dict[str, str | int | bool]) -> Sink:
        if self._real is None:
            return lambda noted, context: self._record(noted.seconds, attributes, context)
        batch = Batch(attributes)
        self._batches.append(batch)
        add = batch.add
        return lambda noted, _: add(noted)

    def _record(self, seconds: float, attributes: Mapping[str, str | int | bool], context: Context) -> None:
        self._requests.add(1, attributes, context)
        self._duration.record(seconds, attributes, context)

    def fold(self) -> None:
        """Bring what was noted to the instruments; called before each collection."""
        for batch in list(self._batches):
            noted = batch.taken()
            if noted:
                self._requests.add(len(noted), batch.attributes)
                lane.fold(self._real, batch.attributes, [entry.seconds for entry in noted], noted)
