"""The meter provider, meters and instruments that follow the process.

Observable instruments are used by nobody but the collection, so they are bound to each generation before it collects
(`ProxyMeterProvider.bind_observables`); their callbacks are thereby registered anew in every process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from opentelemetry import context as context_api
from opentelemetry import metrics as api
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import MetricReader

from otelfork import forks
from otelfork.proxies.follower import Follower, Providers
from otelfork.request.origin import RECORDED

_FLUSH_MILLIS = 30_000
_logger = logging.getLogger("otelfork")
# Specification, metrics API, "instrument name syntax" and "instrument unit".
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}", re.ASCII)
_UNIT = re.compile(r"[\x00-\x7f]{0,63}")

_P = TypeVar("_P", bound="_ProxyInstrument")


class _ProxyInstrument(Follower[Any]):
    """An instrument by its identity; `create` makes it in a meter of the current generation."""

    create: str
    __slots__ = ("_arguments", "_keywords", "_meter")

    def __init__(self, meter: ProxyMeter, arguments: Sequence[Any], keywords: dict[str, Any]) -> None:
        super().__init__()
        self._meter = meter
        self._arguments = arguments
        self._keywords = keywords

    @property
    def name(self) -> str:
        """The instrument's name."""
        return cast(str, self._arguments[0])

    def _make(self, providers: Providers) -> Any:
        meter = providers.meter_provider.get_meter(*self._meter.arguments)
        made = getattr(meter, self.create)(*self._arguments, **self._keywords)
        return _Quiet(made) if _measures_http_servers(self._meter.name, self.name) else made


class _Quiet:
    """An instrument of another instrumentation of HTTP servers: silent inside a request that is recorded by the middleware.

    Contrib's middlewares know whether a server span runs around them, and make theirs an internal one; they measure all the
    same, and every request would count twice.
    """

    __slots__ = ("_real",)

    def __init__(self, real: Any) -> None:
        self._real = real

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        if context_api.get_value(RECORDED, context) is None:
            self._real.add(amount, attributes, context)

    def record(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        if context_api.get_value(RECORDED, context) is None:
            self._real.record(amount, attributes, context)


def _measures_http_servers(scope: str, name: str) -> bool:
    return scope.startswith("opentelemetry.instrumentation.") and name.startswith("http.server.")


class _ProxyCounter(_ProxyInstrument, api.Counter):
    create = "create_counter"

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        self.real().add(amount, attributes, context)


class _ProxyUpDownCounter(_ProxyInstrument, api.UpDownCounter):
    create = "create_up_down_counter"

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        self.real().add(amount, attributes, context)


class ProxyHistogram(_ProxyInstrument, api.Histogram):
    """A histogram, whatever process uses it."""

    create = "create_histogram"

    def record(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        """See `opentelemetry.metrics.Histogram.record`."""
        self.real().record(amount, attributes, context)


class _ProxyGauge(_ProxyInstrument, api._Gauge):  # noqa: SLF001 - listed in __all__ of opentelemetry.metrics under this name
    create = "create_gauge"

    def set(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        self.real().set(amount, attributes, context)


class _ProxyObservableCounter(_ProxyInstrument, api.ObservableCounter):
    create = "create_observable_counter"


class _ProxyObservableUpDownCounter(_ProxyInstrument, api.ObservableUpDownCounter):
    create = "create_observable_up_down_counter"


class _ProxyObservableGauge(_ProxyInstrument, api.ObservableGauge):
    create = "create_observable_gauge"


class ProxyMeter(api.Meter):
    """A meter by name, whatever process uses it. The same instrument asked for twice is one object, as in the SDK."""

    def __init__(self, arguments: tuple[Any, ...], observables: list[_ProxyInstrument]) -> None:
        super().__init__(*arguments[:3])
        self.arguments = arguments
        self._observables = observables
        self._proxies: dict[Any, _ProxyInstrument] = {}

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        """See `opentelemetry.metrics.Meter.create_counter`."""
        return self._synchronous(_ProxyCounter, name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> api.UpDownCounter:
        """See `opentelemetry.metrics.Meter.create_up_down_counter`."""
        return self._synchronous(_ProxyUpDownCounter, name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> api.Histogram:
        """See `opentelemetry.metrics.Meter.create_histogram`."""
        advisory = explicit_bucket_boundaries_advisory
        keywords = {} if advisory is None else {"explicit_bucket_boundaries_advisory": advisory}
        return self._synchronous(ProxyHistogram, name, unit, description, **keywords)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> Any:
        """See `opentelemetry.metrics.Meter.create_gauge`."""
        return self._synchronous(_ProxyGauge, name, unit, description)

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> api.ObservableCounter:
        """See `opentelemetry.metrics.Meter.create_observable_counter`."""
        return self._observable(_ProxyObservableCounter, name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> api.ObservableUpDownCounter:
        """See `opentelemetry.metrics.Meter.create_observable_up_down_counter`."""
        return self._observable(_ProxyObservableUpDownCounter, name, callbacks, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> api.ObservableGauge:
        """See `opentelemetry.metrics.Meter.create_observable_gauge`."""
        return self._observable(_ProxyObservableGauge, name, callbacks, unit, description)

    def _synchronous(self, kind: type[_P], name: str, unit: str, description: str, **keywords: Any) -> _P:
        _check(name, unit)
        proxy = kind(self, (name, unit, description), keywords)
        return cast(_P, self._proxies.setdefault(_key(kind, name, unit, description), proxy))

    def _observable(self, kind: type[_P], name: str, callbacks: Any, unit: str, description: str) -> _P:
        _check(name, unit)
        # A tuple: what can be read once only would leave the next generation without callbacks, what is no sequence fails here.
        callbacks = None if callbacks is None else tuple(callbacks)
        proxy = kind(self, (name, callbacks, unit, description), {})
        kept = self._proxies.setdefault(_key(kind, name, unit, description), proxy)
        if kept is proxy:
            if forks.current() is not None:
                proxy.real()
            self._observables.append(proxy)
        return cast(_P, kept)


def _key(kind: type, name: str, unit: str, description: str) -> tuple[Any, ...]:
    return (kind, name.lower(), unit, description)


def _check(name: str, unit: str) -> None:
    """Refuse a bad name where it is given, as the SDK does, and not in the request that first uses it.

    Raises:
        ValueError: the name or the unit does not follow the specification.
    """
    if not _NAME.fullmatch(name or ""):
        message = f"instrument name {name!r}: expected a letter, then up to 254 of letters, digits, _ . / -"
        raise ValueError(message)
    if not _UNIT.fullmatch(unit or ""):
        message = f"instrument unit {unit!r}: expected at most 63 ASCII characters"
        raise ValueError(message)


class ProxyMeterProvider(sdk.MeterProvider):
    """Stands in the global seat. The SDK's constructor is not called (see `ProxyTracerProvider`)."""

    def __init__(self, add_metric_reader: Callable[[MetricReader], None]) -> None:
        self._add_reader = add_metric_reader
        self._observables: list[_ProxyInstrument] = []
        self._proxies: dict[Any, ProxyMeter] = {}

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> api.Meter:
        """Return the meter of that name (see `opentelemetry.metrics.MeterProvider.get_meter`)."""
        meter = ProxyMeter((name, version, schema_url, attributes), self._observables)
        labels = tuple(sorted((key, str(value)) for key, value in (attributes or {}).items()))
        return self._proxies.setdefault((name, version, schema_url, labels), meter)

    def bind_observables(self) -> None:
        """Register every observable instrument, with its callbacks, in the current generation."""
        for proxy in list(self._observables):
            try:
                proxy.real()
            except Exception:  # noqa: PERF203 - each on its own
                # It would fail in every collection and take the other instruments with it: said once, then left out.
                _logger.exception("the observable instrument %s cannot be created; it is left out", proxy.name)
                self._observables.remove(proxy)

    def add_metric_reader(self, metric_reader: MetricReader) -> None:
        """Add a reader to this process's generation; children make their own (see `otelfork.configure`)."""
        self._add_reader(metric_reader)

    def remove_metric_reader(self, metric_reader: MetricReader) -> None:
        """Remove a reader from this process's generation."""
        generation = forks.current()
        if generation is not None:
            cast(Any, generation).meter_provider.remove_metric_reader(metric_reader)

    def force_flush(self, timeout_millis: float = _FLUSH_MILLIS) -> bool:
        """Export everything recorded in this process."""
        return forks.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = _FLUSH_MILLIS) -> None:
        """Flush and stop this process's telemetry."""
        forks.shutdown(timeout_millis / 1000)
