"""What this process's own telemetry lost, as metrics: read when metrics are collected, so that counting costs nothing.

Source: semantic conventions, OpenTelemetry SDK metrics (`otel.sdk.processor.span.processed` and its sibling for logs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

Totals = Callable[[], Mapping[tuple[str, str], int]]
"""Records lost so far by (signal, reason)."""

_NAMES = {
    "spans": ("otel.sdk.processor.span.processed", "{span}"),
    "logs": ("otel.sdk.processor.log.processed", "{log_record}"),
}
_COMPONENT = {"otel.component.type": "otelfork_outbox", "otel.component.name": "otelfork_outbox/0"}


def observe(meter: Meter, totals: Totals) -> None:
    """Make the counters; a reason that never came has no point."""
    for signal, (name, unit) in _NAMES.items():
        meter.create_observable_counter(
            name,
            callbacks=[_callback(signal, totals)],
            unit=unit,
            description="Records that were given up, by reason.",
        )


def observe_spool(meter: Meter, inherited: Callable[[], int], repeated: Callable[[], int]) -> None:
    """Make the counters of what dead processes left, and of what they may have sent already."""
    for name, value, description in (
        ("otelfork.spool.records.recovered", inherited, "Records that processes which are dead had left on disk."),
        ("otelfork.spool.records.repeated", repeated, "Of these, records that may have been received before."),
    ):
        meter.create_observable_counter(name, callbacks=[_positive(value)], unit="{record}", description=description)


def observe_missed(meter: Meter, missed: Callable[[], int]) -> None:
    """Make the counter of requests that had no row on the scoreboard: a kill would not show them."""
    meter.create_observable_counter(
        "otelfork.scoreboard.requests.missed",
        callbacks=[_positive(missed)],
        unit="{request}",
        description="Requests that found no row on the scoreboard (OTELFORK_REQUEST_ROWS).",
    )


def observe_repeats(meter: Meter, repeated: Callable[[], int]) -> None:
    """Make the counter of what was sent once more, for a fork or a flush had broken off its first try."""
    meter.create_observable_counter(
        "otelfork.export.records.repeated",
        callbacks=[_positive(repeated)],
        unit="{record}",
        description="Records whose export was broken off, by a fork or a flush that could not wait, and begun again.",
    )


def _positive(value: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(found) for found in (value(),) if found]


def _callback(signal: str, totals: Totals) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def lost(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, {**_COMPONENT, "error.type": reason})
            for (of, reason), count in totals().items()
            if of == signal
        ]

    return lost
