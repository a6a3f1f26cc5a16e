"""Checks what was given to `configure`: a mistake is told where it was made, and not in a worker's first request.

It must not know settings' variables or how a generation is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor

from otelfork.build import guests
from otelfork.settings import SIGNALS, SettingsError

_METHODS = {
    "sampler": ("should_sample", "a sampler, such as TraceIdRatioBased(0.1), or a function that returns one"),
    "id_generator": ("generate_trace_id", "an IdGenerator, or a function that returns one"),
    "resource": ("items", "a Resource, a mapping of names to values, or a function that returns one"),
}


def check(**arguments: Any) -> None:
    """Check the arguments of `configure` that are given.

    Raises:
        SettingsError: one is of the wrong kind; the message names it and says what was expected.
    """
    for name, (method, expected) in _METHODS.items():
        _one(name, arguments.get(name), (method, "attributes") if name == "resource" else (method,), expected)
    service_name = arguments.get("service_name")
    if service_name is not None and not isinstance(service_name, str):
        raise SettingsError("configure(service_name=...)", service_name, "a string")
    _factories_of("metric_readers", arguments.get("metric_readers") or (), "factories: lambda: reader")
    _exporters(arguments.get("exporters") or {})
    _processors("span_processors", arguments.get("span_processors") or (), "on_start")
    _processors("log_record_processors", arguments.get("log_record_processors") or (), "on_emit")


def check_providers(given: Callable[[], Any] | None) -> None:
    """Check `providers=`.

    Raises:
        SettingsError: it is no function.
    """
    if given is not None and not callable(given):
        raise SettingsError(
            "configure(providers=...)", given, "a function that returns Providers, for each process its own"
        )


def _one(name: str, given: Any, methods: Iterable[str], expected: str) -> None:
    if given is not None and not callable(given) and not any(hasattr(given, method) for method in methods):
        raise SettingsError(f"configure({name}=...)", given, expected)


def _factories_of(name: str, given: Sequence[Any], expected: str) -> None:
    for factory in given:
        if not callable(factory):
            raise SettingsError(f"configure({name}=...)", factory, expected)


def _exporters(given: Mapping[str, Sequence[Any]]) -> None:
    if not isinstance(given, Mapping):
        raise SettingsError("configure(exporters=...)", given, 'factories by signal: {"traces": [lambda: exporter]}')
    for signal, made in given.items():
        if signal not in SIGNALS:
            raise SettingsError("configure(exporters=...)", signal, "the signals traces, metrics and logs")
        _factories_of("exporters", made, "factories, for each process makes its own: lambda: exporter")


def _processors(name: str, given: Sequence[Any], method: str) -> None:
    for processor in given:
        if not callable(processor) and not hasattr(processor, method):
            raise SettingsError(f"configure({name}=...)", processor, "processors, or functions that return one")
        if isinstance(processor, SpanProcessor) and guests.exports(processor):
            expected = (
                "a factory, for a processor that exports does not survive a fork: lambda: BatchSpanProcessor(...)"
            )
            raise SettingsError(f"configure({name}=...)", processor, expected)
