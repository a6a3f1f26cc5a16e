"""What the instrumentor of gunicorn calls a request."""

from __future__ import annotations

from otelfork.settings.environment import Environment

REQUEST = "gunicorn.request"
ROUTE = "route"


def named_by_route(environment: Environment | None = None) -> bool:
    """Tell whether a request's span is named by its route, as without the instrumentor, and not `gunicorn.request`.

    Raises:
        SettingsError: OTELFORK_GUNICORN_SPAN_NAME is neither.
    """
    name = "OTELFORK_GUNICORN_SPAN_NAME"
    return (environment or Environment()).choice(name, choices=(REQUEST, ROUTE), default=REQUEST) == ROUTE
