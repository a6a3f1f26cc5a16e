"""The handles that one middleware records with: a tracer and four instruments, and their bounded attribute sets.

Only the OpenTelemetry API is known here; whose provider stands behind it is not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, final

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter, MeterProvider, UpDownCounter, get_meter_provider
from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider, get_tracer_provider

from otelfork import semconv
from otelfork.lane.noting import Entry
from otelfork.request.oldnames import OldMetrics, of_active
from otelfork.version import __version__

MetricKey: TypeAlias = "tuple[str, str, int | None, str | None, str | None, str | None, bool]"
"""(method, scheme, status, error type, route, protocol version, websocket)"""
ActiveKey: TypeAlias = "tuple[str, str] | tuple[str, str, str, int | None, str | None]"
"""(method, scheme), and for the old names (server address, server port, protocol version) as well"""

_OVERFLOW: dict[str, str | int | bool] = {semconv.METRIC_OVERFLOW: True}
ACTIVE_REQUESTS = {
    "name": semconv.ACTIVE_REQUESTS_METRIC,
    "unit": "{request}",
    "description": "Number of active HTTP server requests.",
}
SCOPE = "otelfork"
_NO_SPAN = Context({f"{SCOPE}.no_span": True})
"""For sizes, not empty: for an empty one the current context would be taken. Exemplars are on the durations: each costs 2 us."""


class Board(Protocol):
    """Notes running requests where others can read them (see `scoreboard.Scoreboard`)."""

    def begin(self, origin: bytes, span_id: bytes, flags: int, start: int, text: bytes) -> int:
        """Note a request; return its row."""

    def end(self, row: int) -> None:
        """Clear the row."""


class Lane(Protocol):
    """Starts request spans in place of the tracer (see `lane.Lane`)."""

    def begin(self, kind: Any, sketch: Any, sender: bytes | None, start_time: int) -> Any:
        """Start a SERVER span with nothing around it but its sender; None where `start` has to do it."""

    def start(self, kind: Any, sketch: Any, context: Context, parent: SpanContext | None, start_time: int) -> Span:
        """Start a SERVER span."""


class Running(Protocol):
    """Counts running requests instead of the instrument (see `lane.noting.Active`)."""

    def active(self, key: object, attributes: Mapping[str, Any]) -> Any:
        """Return where running requests with these attributes are counted."""


class Folding(Running, Protocol):
    """Takes the figures of requests instead of the instruments (see `lane.folding.Folding`)."""

    def batch(self, key: object, attributes: Mapping[str, Any]) -> Any:
        """Return where requests with these attributes are noted."""

    def along(self, fold: Callable[[], None]) -> bool:
        """Call this too whenever figures are folded; False where no collection would wait for it."""

    def hurry(self) -> None:
        """Have what was noted folded, as `lane.noting.OFTEN` requests have ended."""


@final
class Instruments:
    """Tracer and instruments of one generation, with the attribute sets that were seen.

    Args:
        tracer: where request spans come from.
        meter: where the instruments are made.
        cardinality_limit: attribute sets per instrument, the overflow set included.
        old: whether to make the metrics before 1.21 too.
    """

    __slots__ = (
        "_active_sets",
        "_limit",
        "_sets",
        "active_requests",
        "board",
        "duration",
        "folding",
        "lane",
        "meter",
        "old",
        "request_body_size",
        "response_body_size",
        "running",
        "tracer",
    )  # fmt: skip

    def __init__(self, tracer: Tracer, meter: Meter, cardinality_limit: int = 2000, *, old: bool = False) -> None:
        self.tracer = tracer
        self.meter = meter
        self.duration: Histogram = meter.create_histogram(
            semconv.DURATION_METRIC,
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=semconv.DURATION_BOUNDARIES,
        )
        self.active_requests: UpDownCounter = meter.create_up_down_counter(
            **ACTIVE_REQUESTS,
        )
        self.request_body_size = _sizes(meter, semconv.REQUEST_BODY_SIZE_METRIC, "Size of HTTP server request bodies.")
        self.response_body_size = _sizes(
            meter, semconv.RESPONSE_BODY_SIZE_METRIC, "Size of HTTP server response bodies."
        )
        self._limit = cardinality_limit
        self.old = OldMetrics(meter, cardinality_limit) if old else None
        """The metrics before 1.21, where they are wanted as well."""
        self.board: Board | None = None
        """Where running requests are noted, for the case that this process is killed."""
        self.lane: Lane | None = None
        """Where request spans come from instead of the tracer, if the provider behind it allows it."""
        self.folding: Folding | None = None
        """What takes the figures instead of the instruments, if the provider behind them allows it."""
        self.running: Running | None = None
        """What counts running requests instead of the instrument, likewise; `folding` does where it is None."""
        self._sets: dict[MetricKey, dict[str, str | int | bool]] = {}
        self._active_sets: dict[ActiveKey, dict[str, str | int | bool]] = {}

    @classmethod
    def create(
        cls,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        tracer: Tracer | None = None,
        meter: Meter | None = None,
        cardinality_limit: int = 2000,
        old: bool = False,
    ) -> Instruments:
        """Make the handles from providers (the global ones by default), or take a tracer or meter as given."""
        if tracer is None:
            provider = tracer_provider if tracer_provider is not None else get_tracer_provider()
            tracer = provider.get_tracer(SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        if meter is None:
            metrics = meter_provider if meter_provider is not None else get_meter_provider()
            meter = metrics.get_meter(SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        return cls(tracer, meter, cardinality_limit, old=old)

    def renewed(self) -> Instruments:
        """Return the same handles, with nothing that was noted by them: for a child of the process that made them."""
        other = copy.copy(self)
        other.board = other.lane = other.folding = other.running = None
        return other

    def attributes(self, key: MetricKey) -> dict[str, str | int | bool]:
        """Return the low-cardinality attributes of a finished request; over the limit, the overflow set.

        The dictionary is shared between requests with the same key: recorders read it only.
        """
        found = self._sets.get(key)
        if found is not None:
            return found
        # Two threads may both pass the limit check: the bound is then over by one, and no lock is needed.
        if len(self._sets) >= self._limit - 1:
            return _OVERFLOW
        return self._sets.setdefault(key, _metric_attributes(key))

    def counting(self, key: ActiveKey) -> tuple[Iterator[int] | None, Iterator[int] | None]:
        """Return what counts the requests that have begun and those that have ended, with each `next`.

        None where the instrument has to be used.
        """
        running = self.running or self.folding
        if running is None:
            return None, None
        shared = self.active_attributes(key)
        active = running.active(None if shared is _OVERFLOW else key, shared)
        return active.begun, active.ended

    def noting(self, key: MetricKey) -> Callable[[Entry], object] | None:
        """Return what takes the figures of requests with this key; None where `record` has to be called."""
        folding = self.folding
        if folding is None:
            return None
        shared = self.attributes(key)
        note: Callable[[Entry], object] = folding.batch(None if shared is _OVERFLOW else key, shared).add
        return note

    def count(self, key: ActiveKey, step: int, context: Context) -> None:
        """Count the begin (1) or the end (-1) of a request with the instrument itself."""
        self.active_requests.add(step, self.active_attributes(key), context)

    def record(
        self, key: MetricKey, seconds: float, received: int | None, sent: int | None, context: Context
    ) -> None:  # fmt: skip
        """Record the figures of a finished request with the instruments themselves.

        Args:
            key: what its attributes are made of.
            seconds: its duration.
            received: bytes of its body; None where they are not measured.
            sent: bytes of the response's body, likewise.
            context: the request's context.
        """
        shared = self._sets.get(key) or self.attributes(key)
        self.duration.record(seconds, shared, context)
        if received is not None:
            self.request_body_size.record(received, shared, _NO_SPAN)
        if sent is not None:
            self.response_body_size.record(sent, shared, _NO_SPAN)

    def active_attributes(self, key: ActiveKey) -> dict[str, str | int | bool]:
        """Return the attributes of `http.server.active_requests`."""
        found = self._active_sets.get(key)
        if found is not None:
            return found
        if len(self._active_sets) >= self._limit - 1:
            return _OVERFLOW
        return self._active_sets.setdefault(key, _active_attributes(*key))


def _sizes(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name,
        unit="By",
        description=description,
        explicit_bucket_boundaries_advisory=semconv.BODY_SIZE_BOUNDARIES,
    )


def _active_attributes(method: str, scheme: str, *server: str | int | None) -> dict[str, str | int | bool]:
    found: dict[str, str | int | bool] = {semconv.HTTP_REQUEST_METHOD: method, semconv.URL_SCHEME: scheme}
    if not server:
        return found
    names = (semconv.SERVER_ADDRESS, semconv.SERVER_PORT, semconv.NETWORK_PROTOCOL_VERSION)
    return of_active(found | {name: value for name, value in zip(names, server, strict=True) if value})


def _metric_attributes(key: MetricKey) -> dict[str, str | int | bool]:
    method, scheme, status, error, route, protocol_version, websocket = key
    attributes: dict[str, str | int | bool] = {
        semconv.HTTP_REQUEST_METHOD: method,
        semconv.URL_SCHEME: scheme,
    }
    if status is not None:
        attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = status
    if error is not None:
        attributes[semconv.ERROR_TYPE] = error
    if route is not None:
        attributes[semconv.HTTP_ROUTE] = route
    if protocol_version is not None:
        attributes[semconv.NETWORK_PROTOCOL_VERSION] = protocol_version
    if websocket:
        attributes[semconv.NETWORK_PROTOCOL_NAME] = "websocket"
    return attributes
