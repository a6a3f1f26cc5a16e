"""What every generation of this program is built from: settings, imported exporters, and the arguments of `configure`, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.metrics import view
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource, ResourceDetector
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from otelfork import exporters, profiles, system
from otelfork.build import arguments as checked
from otelfork.build import components
from otelfork.exporters import PULLED, Factory
from otelfork.lane import Companion
from otelfork.resource import identity
from otelfork.run import membership
from otelfork.run.membership import Membership
from otelfork.settings import Environment, Settings, SettingsError
from otelfork.settings.prometheus import PrometheusSettings
from otelfork.settings.resource import service


@dataclass(frozen=True, slots=True)
class Plan:
    """What every generation is built from: settings, imported exporter factories and the arguments of `configure`."""

    settings: Settings
    exporters: Mapping[str, Sequence[Factory]]
    detectors: Sequence[ResourceDetector]
    service_name: str | None = None
    resource: Resource | Mapping[str, Any] | Callable[[], Resource | Mapping[str, Any]] | None = None
    sampler: Sampler | Callable[[], Sampler] | None = None
    id_generator: IdGenerator | Callable[[], IdGenerator] | None = None
    views: Sequence[view.View] | Callable[[], Sequence[view.View]] = ()
    span_processors: Sequence[SpanProcessor | Callable[[], SpanProcessor]] = ()
    log_record_processors: Sequence[LogRecordProcessor | Callable[[], LogRecordProcessor]] = ()
    metric_readers: Sequence[Callable[[], MetricReader]] = ()
    companions: Sequence[Callable[[Resource], Companion]] = ()
    """Factories of the processors of ours that the settings ask for; each is given the resource of its process."""
    membership: Membership | None = None
    """The run that the process joins; None for a process that keeps to itself."""
    prometheus: PrometheusSettings | None = None
    """Where the metrics can be scraped; None where nobody wants to."""
    port: bool = False
    """Whether they are served on a port of their own, and not only inside the application."""


def make(
    settings: Settings,
    *,
    alone: bool = False,
    exporters: Mapping[str, Sequence[Factory]] | None = None,
    span_processors: Sequence[SpanProcessor | Callable[[], SpanProcessor]] = (),
    **arguments: Any,
) -> Plan:
    """Check the arguments of `configure` and import what they and the settings name.

    Args:
        settings: what the environment says.
        alone: whether the processes join no run (a test in memory).
        exporters: factories by signal, in place of those that the settings name.
        span_processors: processors, or factories of processors.
        arguments: the other arguments of `configure`, as they are.

    Raises:
        SettingsError: something cannot be used.
    """
    components.check(settings)
    checked.check(exporters=exporters, span_processors=span_processors, **arguments)
    port = PULLED in settings.without(exporters or {}).exporters["metrics"]
    return Plan(
        settings=settings,
        prometheus=_prometheus() if port else None,
        port=port,
        exporters=_exporter_factories(settings, exporters or {}),
        detectors=identity.detectors(settings.detectors),
        span_processors=span_processors,
        companions=[*system.companions(), *profiles.companions()],
        membership=None if alone else _membership(arguments.get("service_name"), arguments.get("resource")),
        **arguments,
    )


def _exporter_factories(settings: Settings, given: Mapping[str, Sequence[Factory]]) -> dict[str, Sequence[Factory]]:
    found = exporters.factories(settings.without(given))
    return {**found, **{signal: list(made) for signal, made in given.items()}}


def scraped(plan: Plan) -> Plan:
    """Return the same plan for processes whose metrics can be scraped inside the application.

    Raises:
        SettingsError: see `make`.
    """
    return plan if plan.prometheus is not None else replace(plan, prometheus=_prometheus())


def _prometheus() -> PrometheusSettings:
    """Read the settings, and import what each process will need.

    Raises:
        SettingsError: the extra is not installed, or a value cannot be used.
    """
    try:
        import_module("otelfork.prometheus.page")
    except ImportError as error:
        expected = f"the extra to be installed: pip install 'otelfork[prometheus]' ({error})"
        raise SettingsError("OTEL_METRICS_EXPORTER", PULLED, expected) from error
    return PrometheusSettings.read()


def _membership(service_name: str | None, resource: Any) -> Membership:
    """Find the run that this program's processes join."""
    membership.warm()
    given = getattr(resource, "attributes", resource if isinstance(resource, Mapping) else {})
    named = service_name or given.get("service.name") or service(Environment()).get("service.name")
    return Membership.find(str(named or "unknown_service"))


def value(given: Any) -> Any:
    """Return what the user gave, or what the factory that the user gave makes for this process."""
    return given() if callable(given) and not isinstance(given, SpanProcessor) else given
