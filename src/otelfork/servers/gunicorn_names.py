"""The names that GunicornInstrumentor documents for a request, made of what its exchange has found out.

A span `gunicorn.request` with `http.method`, `http.target`, `http.status_code` and two events; the counter `gunicorn.requests` and
the histogram `gunicorn.request.duration`. It must not know environ, scope or gunicorn.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.metrics import Counter, Histogram, get_meter

from otelfork import semconv
from otelfork.request.instruments import SCOPE
from otelfork.request.naming import Finished
from otelfork.settings.gunicorn import REQUEST, named_by_route
from otelfork.version import __version__

METHOD, TARGET, STATUS = "http.method", "http.target", "http.status_code"
STARTED, COMPLETED = "request.start", "request.completion"
REQUESTS_METRIC = "gunicorn.requests"
DURATION_METRIC = "gunicorn.request.duration"

_OVERFLOW: dict[str, str | int | bool] = {semconv.METRIC_OVERFLOW: True}


class GunicornNames:
    """The second set of names of this process's requests (see `otelfork.request.naming.Names`).

    Raises:
        SettingsError: OTELFORK_GUNICORN_SPAN_NAME cannot be used.
    """

    def __init__(self) -> None:
        self._renames = not named_by_route()
        meter = get_meter(SCOPE, __version__)
        self._requests: Counter = meter.create_counter(
            REQUESTS_METRIC, unit="{request}", description="Total number of HTTP requests"
        )
        self._duration: Histogram = meter.create_histogram(
            DURATION_METRIC,
            unit="s",
            description="Request duration in seconds",
            explicit_bucket_boundaries_advisory=semconv.DURATION_BOUNDARIES,
        )
        self._targets = Targets()

    def finish(self, request: Finished) -> None:
        """See `Names.finish`."""
        span = request.span
        if span.is_recording():
            if self._renames and request.ours:
                span.update_name(REQUEST)
            if not request.settings.old_names:  # `http/dup` has given them, the target with its query
                span.set_attributes(_described(request.method, request.path, request.status))
            span.add_event(STARTED, timestamp=request.start)
            span.add_event(COMPLETED, timestamp=request.end)
        attributes = self._targets.attributes(request)
        self._requests.add(1, attributes, request.context)
        self._duration.record(request.seconds, attributes, request.context)

    def recovered(self, name: str, attributes: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """See `Names.recovered`."""
        target = {METHOD: attributes[semconv.HTTP_REQUEST_METHOD], TARGET: attributes[semconv.URL_PATH]}
        return REQUEST if self._renames else name, {**attributes, **target}


class Targets:
    """The attribute sets of the metrics, bounded: a path comes from the client, and a scanner knows many."""

    def __init__(self) -> None:
        self._sets: dict[tuple[str, str, int | None], dict[str, str | int | bool]] = {}
        self._paths = 0

    def attributes(self, request: Finished) -> dict[str, str | int | bool]:
        """Return the attributes of a request's measurements; shared between equal requests.

        `http.target` is the route where there is one. Else it is the path, until paths take half of the sets: they shall not push
        routes into the overflow set.
        """
        route, limit = request.route, request.settings.cardinality_limit
        key = (request.method, request.path if route is None else route, request.status)
        found = self._sets.get(key)
        if found is not None:
            return found
        # Two threads may both pass a limit: it is then over by one, and no lock is needed.
        if len(self._sets) >= limit - 1 or (route is None and self._paths >= limit // 2):
            return _OVERFLOW
        self._paths += route is None
        return self._sets.setdefault(key, _described(*key))


def _described(method: str, target: str, status: int | None) -> dict[str, str | int | bool]:
    found: dict[str, str | int | bool] = {METHOD: method, TARGET: target}
    if status is not None:
        found[STATUS] = status
    return found
