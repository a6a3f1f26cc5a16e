"""`GunicornInstrumentor`: what `from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor` gives.

It stands here, and not in that module, because another package may have put a module of its own in that place: then this one
still says so.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection
from importlib import metadata
from typing import Any

try:
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined] # see its first line
except ImportError as error:
    message = "GunicornInstrumentor needs opentelemetry-instrumentation: pip install 'otelfork[gunicorn]'"
    raise ImportError(message) from error

from otelfork import bootstrap
from otelfork.servers import gunicorn
from otelfork.servers.gunicorn_names import GunicornNames

OLD_PACKAGE = "opentelemetry-instrumentation-gunicorn"
_PLACE = "opentelemetry.instrumentation.gunicorn"
_OPTIONS = frozenset({"tracer_provider", "meter_provider"})


class InstrumentationError(RuntimeError):
    """gunicorn could not be instrumented; the message says what to do."""


class GunicornInstrumentor(BaseInstrumentor):  # type: ignore[misc] # untyped in its package
    """Traces and measures what gunicorn serves, and its workers, without a change to the application.

    Call `instrument()` before gunicorn starts, in `gunicorn.conf.py`, or in the application's module; or let
    `opentelemetry-instrument` do it. Providers set up before, globally or by the application's module, are used as they are.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what has to be installed."""
        return ("gunicorn >= 21.2",)

    def instrument(self, **kwargs: Any) -> None:
        """Instrument gunicorn. A second call does nothing.

        Args:
            kwargs: `tracer_provider` and `meter_provider`, in place of the global ones for requests; `skip_dep_check`.

        Raises:
            DependencyConflictError: gunicorn is not installed, or is too old.
            InstrumentationError: another package stands in this one's place.
            SettingsError: a variable cannot be used.
            TypeError: an argument is unknown.
        """
        if self.is_instrumented_by_opentelemetry:
            return
        kwargs["raise_exception_on_conflict"] = True
        super().instrument(**kwargs)

    def uninstrument(self, **kwargs: Any) -> None:
        """Put gunicorn back as it was. Does nothing where it is not instrumented."""
        if self.is_instrumented_by_opentelemetry:
            super().uninstrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        unknown = sorted(kwargs.keys() - _OPTIONS)
        if unknown:
            raise TypeError(f"instrument() takes {', '.join(sorted(_OPTIONS))}, not {', '.join(unknown)}")
        refuse_the_old_package()
        bootstrap.check()
        gunicorn.attach(requests=True, names=GunicornNames(kwargs.get("meter_provider")), **kwargs)

    def _uninstrument(self, **kwargs: Any) -> None:
        gunicorn.detach()


def refuse_the_old_package() -> None:
    """Make sure that nobody else instruments gunicorn by the name that is ours.

    Raises:
        InstrumentationError: the old package is installed, or its module stands where ours should.
    """
    cure = f"pip uninstall {OLD_PACKAGE}, then pip install --force-reinstall --no-deps otelfork"
    if any(True for _ in metadata.distributions(name=OLD_PACKAGE)):
        raise InstrumentationError(f"{OLD_PACKAGE} is installed and would double otelfork's instrumentation: {cure}")
    spec = importlib.util.find_spec(_PLACE)
    if spec is None:
        return  # somebody has removed our module together with the old package's: `otelfork.GunicornInstrumentor` serves
    found = getattr(importlib.import_module(_PLACE), "GunicornInstrumentor", None)
    if found is not GunicornInstrumentor:
        raise InstrumentationError(f"{_PLACE} is not otelfork's but {spec.origin}, of another package: {cure}")
