"""Sampler and id generator by the names in the environment: OpenTelemetry's own, or an entry point's."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from otelfork.build import samplers
from otelfork.resource.identity import ProcessIdGenerator
from otelfork.settings import Environment, Settings, SettingsError
from otelfork.settings.telemetry import STOCK_SAMPLERS


def check(settings: Settings) -> None:
    """Import what sampler and id generator the environment names.

    Raises:
        SettingsError: there is no such entry point.
    """
    sampler_named(settings.sampler)
    id_generator_named(settings.id_generator)


def sampler_named(name: str) -> Sampler:
    """Return the stock sampler of that name, else the named entry point's."""
    group = "opentelemetry_traces_sampler"
    sampler: Sampler = samplers.stock(name) or _component("OTEL_TRACES_SAMPLER", group, name, STOCK_SAMPLERS)
    return sampler


def id_generator_named(name: str) -> IdGenerator:
    if name == "random":
        return ProcessIdGenerator()
    generator: IdGenerator = _component("OTEL_PYTHON_ID_GENERATOR", "opentelemetry_id_generator", name, ("random",))
    return generator


@functools.cache
def _entry_point(variable: str, group: str, name: str, known: tuple[str, ...]) -> Any:
    """Load a named component, once: `check` does it early, and every generation uses what it found."""
    found = tuple(metadata.entry_points(group=group, name=name))
    if not found:
        raise SettingsError(variable, name, f"one of {', '.join(known)}, or an entry point of {group}")
    return found[0].load()


def _component(variable: str, group: str, name: str, known: Sequence[str]) -> Any:
    factory = _entry_point(variable, group, name, tuple(known))
    if group == "opentelemetry_traces_sampler":
        return factory(Environment().text("OTEL_TRACES_SAMPLER_ARG"))
    return factory()
