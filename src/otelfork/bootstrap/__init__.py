"""The root: decides what telemetry this program has, installs the function that builds it, and answers for it.

`configure` is the explicit way in, `OtelMiddleware(app)` the implicit one. Neither builds anything: a preloading master forks
clean. The first use in each process builds that process's generation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import format_trace_id, get_current_span

from otelfork import exits, exporters, forks, logs, system, workers
from otelfork.bootstrap.announcement import announce
from otelfork.bootstrap.state import Telemetry, _bootstrap, bind_observables, complain, flush, replaced, shutdown
from otelfork.build import arguments as checked
from otelfork.build import components, pipelines, plans
from otelfork.build.generation import Generation
from otelfork.build.providers import Providers, disabled, generation_of, of_file
from otelfork.settings import Settings, SettingsError
from otelfork.settings.http import HttpSettings
from otelfork.settings.logging import LogSettings
from otelfork.settings.run import RunSettings

if TYPE_CHECKING:
    from otelfork.prometheus.page import Page

__all__ = [
    "Telemetry",
    "answer_scrapes",
    "bind_observables",
    "check",
    "complain",
    "configure",
    "current_trace_id",
    "ensure_installed",
    "flush",
    "page",
    "put_off",
    "replaced",
    "scraped",
    "shutdown",
]

_logger = logging.getLogger("otelfork")


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
    checked.check_providers(providers)
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
    announce(
        settings,
        service_name=service_name,
        given=frozenset(exporters or ()),
        providers=providers is not None or bool(settings.config_file),
        told=_told,
    )
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
    workers.check()


def put_off() -> bool:
    """Take the free global seats now, and plan the telemetry of the environment with the application or at the first use.

    For zero code: libraries find our providers from the beginning, and exporters' libraries take names out of `ssl`, which gevent
    has to patch first.

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


def _of_environment(settings: Settings) -> Callable[[], Generation]:
    """Plan what the environment says; SettingsError if a variable cannot be used."""
    build = _build(settings, None)
    system.start_metrics(_bootstrap.meter_provider)
    announce(settings, providers=bool(settings.config_file), told=_told)
    return build


def _build(settings: Settings, providers: Callable[[], Providers] | None, **arguments: Any) -> Callable[[], Generation]:
    """Return the way every process gets its generation: from the user's providers, or from a plan of ours."""
    workers.check()
    providers = providers or of_file(settings)
    if providers is not None:
        _bootstrap.basis = None
        return generation_of(providers)
    plan = plans.make(settings, alone=_bootstrap.alone, **arguments)
    _bootstrap.basis = plan
    if plan.port and not _bootstrap.alone:
        # The endpoint answers from the start of the workers: it is a first use, wherever it can be seen.
        workers.everyone(begins=True)
        workers.prepare()
    pipelines.warm()
    return lambda: pipelines.build(_bootstrap.basis or plan, _bootstrap.guests, _bootstrap.prepare)


def answer_scrapes() -> None:
    """Have the metrics ready for scrapes inside the application, whether or not they have a port of their own.

    Raises:
        SettingsError: the extra `prometheus` is not installed, or a variable cannot be used.
    """
    if _bootstrap.basis is None:
        return
    _bootstrap.basis = plans.scraped(_bootstrap.basis)
    generation = forks.current()
    if isinstance(generation, Generation):  # this process has recorded something already
        pipelines.add_page(generation, _bootstrap.basis)


def scraped() -> bool:
    """Tell whether somebody may scrape this program: the start of a worker is a first use then, not its first request."""
    return _bootstrap.basis is not None and _bootstrap.basis.prometheus is not None


def page() -> Page | None:
    """Return this process's part in what can be scraped; None where there is nothing to scrape."""
    return getattr(forks.ensure(), "page", None)


def _told() -> bool:
    """Tell whether this server has workers that have recorded: a successor says nothing new."""
    place = None if _bootstrap.basis is None else _bootstrap.basis.membership
    return place is not None and place.settings.enabled and place.begun()


def current_trace_id() -> str | None:
    """Return the trace id of the current span as 32 hexadecimal digits, or None outside a trace."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None
