"""The global provider seats of the OpenTelemetry API: who sits there, and taking those that are free.

A free metrics or logs seat can be told from a taken one only by the class of the placeholder, which the API does not export: it is
compared by its name. (The traces seat has a public placeholder class.)
"""

from __future__ import annotations

from typing import Any

from opentelemetry import _logs, metrics, trace

from otelfork.request import propagation
from otelfork.settings import Environment


def take(tracer_provider: Any, meter_provider: Any, logger_provider: Any) -> list[Any]:
    """Take the free seats; return the user's providers that sit in the others. A provider set by the user wins.

    The propagator's seat is taken with them, unless the user chose one by OTEL_PROPAGATORS or in code.
    """
    propagation.install(chosen=Environment().is_set("OTEL_PROPAGATORS"))
    foreign = []
    for seated, ours, is_free, sit in (
        (trace.get_tracer_provider(), tracer_provider, _traces_free, trace.set_tracer_provider),
        (metrics.get_meter_provider(), meter_provider, _metrics_free, metrics.set_meter_provider),
        (_logs.get_logger_provider(), logger_provider, _logs_free, _logs.set_logger_provider),
    ):
        if seated is ours:
            continue
        if is_free(seated):
            sit(ours)
        else:
            foreign.append(seated)
    return foreign


def _traces_free(seated: object) -> bool:
    return isinstance(seated, trace.ProxyTracerProvider)


def _metrics_free(seated: object) -> bool:
    return type(seated).__name__ == "_ProxyMeterProvider"


def _logs_free(seated: object) -> bool:
    return type(seated).__name__ == "ProxyLoggerProvider" and type(seated).__module__.startswith("opentelemetry.")
