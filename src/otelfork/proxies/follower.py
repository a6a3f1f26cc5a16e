"""How a proxy reaches the providers of the current generation, and what it does where there are none."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, cast

from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from otelfork import forks

_T = TypeVar("_T")


class Providers(Protocol):
    """The part of a generation that proxies use."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    logger_provider: LoggerProvider


class _NoProviders:
    """Where telemetry is off, or asked for while it is being built: everything goes nowhere."""

    tracer_provider: TracerProvider = NoOpTracerProvider()
    meter_provider: MeterProvider = NoOpMeterProvider()
    logger_provider: LoggerProvider = NoOpLoggerProvider()


_nothing: Providers = _NoProviders()


def providers() -> Providers:
    """Return the providers of this process's generation; builds it at first use."""
    generation = forks.ensure()
    return _nothing if generation is None else cast(Providers, generation)


class Follower(Generic[_T]):
    """Caches what a proxy stands for in one generation, and makes it anew in the next."""

    __slots__ = ("_bound",)

    def __init__(self) -> None:
        self._bound: tuple[Any, _T] | None = None
        """The generation and its object: in one place, for another thread may read in between."""

    def _make(self, providers: Providers) -> _T:
        raise NotImplementedError

    def real(self) -> _T:
        """Return the object of the current generation."""
        generation = forks.current()
        bound = self._bound
        if bound is not None and bound[0] is generation:
            return bound[1]
        found = providers()
        made = self._make(found)
        if found is not _nothing:
            self._bound = (found, made)
        return made
