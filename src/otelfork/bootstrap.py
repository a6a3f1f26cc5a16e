"""The root: decides what telemetry this program has, installs the function that builds it, and answers for it.

`configure` is the explicit way in, `OtelMiddleware(app)` the implicit one. Neither builds anything: a preloading master forks
clean. The first use in each process builds that process's generation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import format_trace_id, get_current_span

from otelfork import exits, forks, logs, system
from otelfork.build import components, pipelines, plans, seats
from otelfork.build.generation import Generation
from otelfork.build.glance import Glance
from otelfork.build.guests import Guests
from otelfork.build.providers import Providers, disabled, generation_of, of_file
from otelfork.proxies import ProxyLoggerProvider, ProxyMeterProvider, ProxyTracerProvider
from otelfork.settings import SIGNALS, Settings, SettingsError
from otelfork.settings.http import HttpSettings
from otelfork.settings.logging import LogSettings
from otelfork.settings.run import RunSettings, announce_refusal, refused

if TYPE_CHECKING:
    from otelfork.prometheus.page import Page

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
        return self.telemetry

    def glance(self) -> Glance | None:
        """Return what is known of a generation that need not be built for it; None where there is one, or no plan for any."""
        if forks.current() is not None or not self.plan() or self.build is disabled or self.basis is None:
            return None
        return Glance(self.basis)

    def _last_will(self) -> None:
        """Send what the workers left, at the end of a master whose workers are all gone."""
        if self.basis is not None and pipelines.left_behind(self.basis):
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


def configure(
    *,
    service_name: str | None = None,
    resource: Resource | Mapping[str, Any] | Callable[[], Resource | Mapping[str, Any]] | None = None,
    sampler: Sampler | Callable[[], Sampler] | None = None,
    id_generator: IdGenerator | Callable[[], IdGenerator] | None = None,
    views: Sequence[View] | Callable[[], Sequence[View]] = (),
    span_processors: Sequence[SpanProcessor | Callable[[], SpanProcessor]] = (),
    log_record_processors: Sequence[LogRecordProcessor | Callable[[], LogRecordProcessor]] = (),
    metric_readers: Sequence[Callable[[], MetricReader]] = (),
    exporters: Mapping[str, Sequence[Callable[[], Any]]] | None = None,
    providers: Callable[[], Providers] | None = None,
) -> Telemetry:
    """Set up telemetry for this program and for every process it forks. Builds nothing yet; takes the free global seats.

    Callables are factories: they run once per process generation, at its first use.

    Args:
        service_name: the `service.name`, over OTEL_SERVICE_NAME.
        resource: attributes over those of the environment.
        sampler: a sampler, in place of OTEL_TRACES_SAMPLER.
        id_generator: in place of OTEL_PYTHON_ID_GENERATOR.
        views: metric views.
        span_processors: processors, or factories of processors; one that exports has to be a factory.
        log_record_processors: the same for log records.
        metric_readers: factories of metric readers beside those of the exporters.
        exporters: factories by signal ("traces", "metrics", "logs"), in place of that signal's exporters in the environment.
        providers: a factory of the user's own providers; all other arguments are then the user's business. OTEL_CONFIG_FILE
            is such a factory where none is given.

    Raises:
        SettingsError: a variable or argument cannot be used; it names it, its value and what was expected.
    """
    settings = Settings.read()
    if settings.disabled:
        return _bootstrap.install(settings, disabled)
    logs.install(explicit=True, service_name=service_name)
    system.start_metrics(_bootstrap.meter_provider)
    build = _build(
        settings,
        providers,
        service_name=service_name,
        resource=resource,
        sampler=sampler,
        id_generator=id_generator,
        views=views,
        span_processors=span_processors,
        log_record_processors=log_record_processors,
        metric_readers=metric_readers,
        exporters=exporters,
    )
    telemetry = _bootstrap.install(settings, build)
    _bootstrap.guests.explicit = True
    _bootstrap.take_seats()
    exits.handle_signals()
    _announce(settings)
    return telemetry


def ensure_installed() -> bool:
    """Install the telemetry of the environment unless `configure` was called; tell whether there is any.

    For the one-line middleware: a bad setting is logged once, and the application runs on untraced.
    """
    if _bootstrap.telemetry is not None:
        return not _bootstrap.telemetry.settings.disabled and _bootstrap.plan()
    try:
        settings = Settings.read()
        if settings.disabled:
            return False
        logs.install()
        build = _of_environment(settings)
    except SettingsError as error:
        complain(error)
        return False
    _bootstrap.install(settings, build)
    return True


def check() -> None:
    """Check the environment's settings, for a door that has to say what is wrong; installs nothing.

    Raises:
        SettingsError: a variable cannot be used; `ensure_installed` would only log it.
    """
    settings = Settings.read()
    if _bootstrap.telemetry is None and not settings.disabled and of_file(settings) is None:
        plans.make(settings, alone=True)
    LogSettings.read()
    HttpSettings.load()
    RunSettings.read()


def put_off() -> bool:
    """Take the free global seats now, and plan the telemetry of the environment with the application or at the first use.

    For zero code: libraries find our providers from the beginning, and exporters import `ssl`, which gevent has to patch first.

    Returns:
        Whether there is telemetry.

    Raises:
        SettingsError: a variable cannot be used.
    """
    if _bootstrap.telemetry is None:
        settings = Settings.read()
        if settings.disabled:
            return False
        components.check(settings)
        exporters.check(settings)
        logs.install()
        _bootstrap.install(settings, None)
        _bootstrap.pending = lambda: _of_environment(settings)
    _bootstrap.take_seats()
    return forks.installed()


def complain(error: SettingsError) -> None:
    """Say that a setting cannot be used, unless the process that started this one has said just that."""
    if not refused(str(error)):
        _logger.error("%s; the application runs on untraced", error)


def _of_environment(settings: Settings) -> Callable[[], Generation]:
    """Plan what the environment says; SettingsError if a variable cannot be used."""
    build = _build(settings, None)
    system.start_metrics(_bootstrap.meter_provider)
    _announce(settings)
    return build


def _build(settings: Settings, providers: Callable[[], Providers] | None, **arguments: Any) -> Callable[[], Generation]:
    """Return the way every process gets its generation: from the user's providers, or from a plan of ours."""
    providers = providers or of_file(settings)
    if providers is not None:
        _bootstrap.basis = None
        return generation_of(providers)
    plan = plans.make(settings, alone=_bootstrap.alone, **arguments)
    _bootstrap.basis = plan
    pipelines.warm()
    return lambda: pipelines.build(_bootstrap.basis or plan, _bootstrap.guests, _bootstrap.prepare)


def answer_scrapes() -> None:
    """Have the metrics ready for scrapes inside the application, whether or not they have a port of their own.

    Raises:
        SettingsError: the extra `prometheus` is not installed, or a variable cannot be used.
    """
    if _bootstrap.basis is not None:
        _bootstrap.basis = plans.scraped(_bootstrap.basis)


def scraped() -> bool:
    """Tell whether somebody may scrape this program: the start of a worker is a first use then, not its first request."""
    return _bootstrap.basis is not None and _bootstrap.basis.prometheus is not None


def page() -> Page | None:
    """Return this process's part in what can be scraped; None where there is nothing to scrape."""
    return getattr(forks.ensure(), "page", None)


def _announce(settings: Settings) -> None:
    """Say once what is on."""
    parts = [f"{signal} to {', '.join(settings.exporters[signal]) or 'nowhere'}" for signal in SIGNALS]
    _logger.info("telemetry: %s", "; ".join(parts))


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


def current_trace_id() -> str | None:
    """Return the trace id of the current span as 32 hexadecimal digits, or None outside a trace."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None
