"""The state of the bootstrap: what this program has decided about its telemetry; one object for all generations.

It must not know how a plan is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from otelfork import exits, forks, logs, workers
from otelfork.build import leftovers, plans, seats
from otelfork.build.generation import Generation
from otelfork.build.glance import Glance
from otelfork.build.guests import Guests
from otelfork.build.providers import disabled
from otelfork.proxies import ProxyLoggerProvider, ProxyMeterProvider, ProxyTracerProvider
from otelfork.settings import Settings, SettingsError
from otelfork.settings.run import announce_refusal, refused

_logger = logging.getLogger("otelfork")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What `configure` returns: the providers that follow the process, and its two commands."""

    tracer_provider: ProxyTracerProvider
    meter_provider: ProxyMeterProvider
    logger_provider: ProxyLoggerProvider
    settings: Settings

    def flush(self, timeout: float | None = None) -> bool:
        """Export what this process has recorded (see `otelfork.flush`)."""
        return flush(timeout)

    def shutdown(self) -> bool:
        """Flush and stop this process's telemetry (see `otelfork.shutdown`)."""
        return shutdown()


class _Bootstrap:
    """The state of the bootstrap; one object, shared by all generations."""

    def __init__(self) -> None:
        self.telemetry: Telemetry | None = None
        self.build: Callable[[], Generation] | None = None
        self.pending: Callable[[], Callable[[], Generation]] | None = None
        """Makes `build`, where `start` has put that off."""
        self.guests = Guests()
        self.alone = False
        self.basis: plans.Plan | None = None
        """What generations are built from, unless they are built around the user's own providers."""
        # Not the bound methods: `replaced` puts other guests in place.
        self.tracer_provider = ProxyTracerProvider(lambda added: self.guests.add_span_processor(added), self.glance)  # noqa: PLW0108
        self.meter_provider = ProxyMeterProvider(lambda added: self.guests.add_metric_reader(added))  # noqa: PLW0108
        self.logger_provider = ProxyLoggerProvider(
            lambda added: self.guests.add_log_record_processor(added),  # noqa: PLW0108
            self.glance,
        )

    def install(self, settings: Settings, build: Callable[[], Generation] | None) -> Telemetry:
        """Make `build` the way every process of this program gets its generation; None where it is still to be planned."""
        self.build, self.pending = build, None
        self.telemetry = Telemetry(self.tracer_provider, self.meter_provider, self.logger_provider, settings)
        exits.configure(timeout=settings.exit_timeout, signals=settings.signals, last_will=self._last_will)
        forks.install(self.first_use, timeout=settings.exit_timeout)
        if not settings.disabled:
            workers.prepare()
        return self.telemetry

    def glance(self) -> Glance | None:
        """Return what is known of a generation that need not be built for it; None where there is one, or no plan for any."""
        if forks.current() is not None or not self.plan() or self.build is disabled or self.basis is None:
            return None
        return Glance(self.basis)

    def _last_will(self) -> None:
        """Send what the workers left, at the end of a master whose workers are all gone."""
        if self.basis is not None and leftovers.left_behind(self.basis):
            forks.ensure()

    def take_seats(self) -> list[Any]:
        """Take the free global seats."""
        return seats.take(self.tracer_provider, self.meter_provider, self.logger_provider)

    def plan(self) -> bool:
        """Make the plan that was put off; tell whether there is one. A setting that cannot be used is said once."""
        pending, self.pending = self.pending, None
        try:
            self.build = self.build if pending is None else pending()
        except SettingsError as error:
            complain(error)
            announce_refusal(str(error))
        return self.build is not None

    def first_use(self) -> Generation | None:
        """Build this process's generation; installed in `forks`."""
        if not self.plan() or self.build is None:
            return None
        foreign = self.take_seats()
        generation = self.build()
        generation.foreign = foreign
        exits.register()
        return generation

    def prepare(self) -> None:
        """Bind the observable instruments before a collection; called by the exporter thread."""
        self.meter_provider.bind_observables()
        logs.release()


_bootstrap = _Bootstrap()
_REPLACED = ("telemetry", "build", "pending", "basis", "guests", "alone")


@contextmanager
def replaced() -> Iterator[None]:
    """Let a test configure telemetry anew inside the block, and put back what was configured before."""
    before = {name: getattr(_bootstrap, name) for name in _REPLACED}
    _bootstrap.guests, _bootstrap.alone = Guests(), True
    shutdown()
    try:
        yield
    finally:
        shutdown()
        for name, value in before.items():
            setattr(_bootstrap, name, value)
        forks.install(_bootstrap.first_use if _bootstrap.build or _bootstrap.pending else None)


def bind_observables() -> None:
    """Register the observable instruments in the current generation."""
    _bootstrap.prepare()


def complain(error: SettingsError) -> None:
    """Say that a setting cannot be used, unless the process that started this one has said just that."""
    if not refused(str(error)):
        _logger.error("%s; the application runs on untraced", error)


def flush(timeout: float | None = None) -> bool:
    """Export what this process has recorded; spans, metrics and logs together.

    Args:
        timeout: seconds; None is OTELFORK_EXIT_TIMEOUT.

    Returns:
        Whether everything was handed over in time; True where nothing was recorded.
    """
    return forks.flush(_seconds(timeout))


def shutdown(timeout: float | None = None) -> bool:
    """Flush, then stop this process's telemetry for good; what is recorded later goes nowhere. A forked child has its own."""
    return forks.shutdown(_seconds(timeout))


def _seconds(timeout: float | None) -> float:
    if timeout is not None:
        return timeout
    return _bootstrap.telemetry.settings.exit_timeout if _bootstrap.telemetry else 3.0
