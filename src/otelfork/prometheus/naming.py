"""Names, units and labels as Prometheus spells them.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", metric metadata and metric attributes. The unit
"1" is in no table of it and becomes no suffix, as in the exporter of the SDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_METRIC = re.compile(r"[^a-zA-Z0-9:]+")
_LABEL = re.compile(r"[^a-zA-Z0-9]+")
_ANNOTATION = re.compile(r"\{[^}]*\}")
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tebibytes", "kBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius",
    "Hz": "hertz", "%": "percent", "1": "",
}  # fmt: skip
_PER = {"s": "second", "min": "minute", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def metric_name(name: str, unit: str, *, counter: bool) -> str:
    """Return the name of a metric's family: without the `_total` of a counter, with its unit at the end.

    Args:
        name: as OpenTelemetry has it.
        unit: as Prometheus has it (see `unit_name`).
        counter: whether it is a monotonic sum.
    """
    found = _led(_METRIC.sub("_", name))
    if counter:
        found = found.removesuffix("_total")
    return f"{found}_{unit}" if unit and not found.endswith(f"_{unit}") else found


def unit_name(unit: str) -> str:
    """Return a UCUM unit as Prometheus writes it in words, or "" for none."""
    bare = _ANNOTATION.sub("", unit).strip()
    if bare in _UNITS:
        return _UNITS[bare]
    whole, slash, part = bare.partition("/")
    if slash and (below := _METRIC.sub("_", _PER.get(part, part)).strip("_")):
        above = _METRIC.sub("_", _UNITS.get(whole, whole)).strip("_")
        return f"{above}_per_{below}" if above else f"per_{below}"
    return _METRIC.sub("_", bare).strip("_")


def labels_of(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return attributes as labels; the values of names that become one are joined by ";", in the order of the names."""
    labels: dict[str, str] = {}
    for key in sorted(attributes):
        label = _led(_LABEL.sub("_", key)) or "_"
        value = text_of(attributes[key])
        labels[label] = f"{labels[label]};{value}" if label in labels else value
    return labels


def scope_labels(
    name: str, version: str | None, schema_url: str | None, attributes: Mapping[str, Any]
) -> dict[str, str]:
    """Return the labels of an instrumentation scope. Empty ones are left out: to Prometheus they are the same."""
    given = labels_of({f"otel_scope_{key}": value for key, value in attributes.items()})
    own = {"otel_scope_name": name, "otel_scope_version": version, "otel_scope_schema_url": schema_url}
    return {**given, **{key: value for key, value in own.items() if value}}


def text_of(value: Any) -> str:
    """Return an attribute's value as a string (specification: common concepts, attribute values outside OTLP)."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _led(name: str) -> str:
    return f"_{name}" if name[:1].isdigit() else name
