"""What decides how an interpreter starts under zero code."""

from __future__ import annotations

from otelfork.settings.environment import Environment

DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


def disabled_instrumentations(environment: Environment | None = None) -> tuple[str, ...]:
    """Return the instrumentations that are not to be activated, by name; `*` is all of them."""
    return (environment or Environment()).names(DISABLED)
