"""Where the SDK keeps the figures of one attribute set, made where there are none yet.

Private names of the SDK used here, for what is folded goes past the method that makes it: `_get_or_create_aggregation` of what
an instrument is to a view; in 1.45.1, whose `consume_measurement` makes it in its own lines and knows no limit of attribute sets,
`_attributes_aggregation`, `_view`, `_instrument` and `_instrument_class_aggregation`, with `_aggregation` and
`_exemplar_reservoir_factory` of a view and `_create_aggregation` of an aggregation. Probe and fallback are those of `folding`.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import Any

from opentelemetry.sdk.metrics.view import DefaultAggregation


def aggregation_of(match: Any, key: object, attributes: Mapping[str, Any]) -> Any:
    """Return the aggregation of an attribute set; the caller holds the lock of `match`."""
    make = getattr(match, "_get_or_create_aggregation", None)
    if make is not None:
        return make(key, attributes)
    found = match._attributes_aggregation.get(key)
    if found is None:
        chosen = match._view._aggregation
        if isinstance(chosen, DefaultAggregation):
            chosen = match._instrument_class_aggregation[type(match._instrument)]
        found = chosen._create_aggregation(
            match._instrument, attributes, match._view._exemplar_reservoir_factory, time_ns()
        )
        match._attributes_aggregation[key] = found
    return found
