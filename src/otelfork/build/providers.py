"""Providers that are the user's own: given by a factory, or described by OTEL_CONFIG_FILE. Made anew in each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from otelfork.build import configfile, guests
from otelfork.build.generation import Generation
from otelfork.settings import Settings


@dataclass(frozen=True, slots=True)
class Providers:
    """The user's own providers of one process, made by the factory given as `configure(providers=...)`; None is a no-op."""

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None


def generation_of(providers: Callable[[], Providers]) -> Callable[[], Generation]:
    """Return what builds a generation around the user's own providers."""

    def build() -> Generation:
        made = providers()
        guests.keep_providers_home(made.tracer_provider, made.meter_provider, made.logger_provider)
        return Generation(
            made.tracer_provider or NoOpTracerProvider(),
            made.meter_provider or NoOpMeterProvider(),
            made.logger_provider or NoOpLoggerProvider(),
            None,
        )

    return build


def of_file(settings: Settings) -> Callable[[], Providers] | None:
    """Return the factory of what OTEL_CONFIG_FILE asks for, or None where it names no file."""
    if not settings.config_file:
        return None
    build = configfile.load(settings.config_file)
    return lambda: Providers(*build())


def disabled() -> Generation:
    """Build the generation of a program whose telemetry is off."""
    return generation_of(Providers)()
