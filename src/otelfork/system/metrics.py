"""opentelemetry-instrumentation-system-metrics, made right under forks.

It keeps the `psutil.Process` of who imported it, reports the host's series from every worker, and scans all connections at each
collection. Here its callbacks are wrapped: each process observes itself, what is the host's is observed by one process, and a
child's garbage collections begin at zero. It must not know how the one process is chosen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from opentelemetry.instrumentation.system_metrics import _DEFAULT_CONFIG, SystemMetricsInstrumentor
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

Callback = Callable[[CallbackOptions], Iterable[Observation]]

_CONNECTIONS = "system.network.connections"
# The process's own, whatever their name says.
_OWN = ("process.", "cpython.", "system.thread_count")


class SystemMetrics:
    """The instrumentation of one program, in all its processes.

    Args:
        connections: count the host's connections too (25 ms each time).
        reports_host: asked at each collection: whether this process is the one that reports what is the host's.
    """

    def __init__(self, *, connections: bool, reports_host: Callable[[], bool]) -> None:
        self._config = {name: parts for name, parts in _configuration().items() if connections or name != _CONNECTIONS}
        self._reports_host = reports_host
        self._pid = os.getpid()
        self._instrumentor = SystemMetricsInstrumentor(config=self._config)

    def start(self, meter_provider: MeterProvider) -> None:
        """Create the instruments. A meter provider that follows the process carries them into children."""
        self._instrumentor.instrument(meter_provider=_Provider(meter_provider, self._wrap))

    def _wrap(self, name: str, callback: Callback) -> Callback:
        if name.startswith("cpython.gc."):
            return _SinceBirth(self._of_this_process(callback))
        if name.startswith(_OWN):
            return self._of_this_process(callback)
        return lambda options: callback(options) if self._reports_host() else ()

    def _of_this_process(self, callback: Callback) -> Callback:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            if self._pid != os.getpid():
                # The instrumentor is a singleton: constructing it again gives the same object this process's figures.
                self._instrumentor = SystemMetricsInstrumentor(config=self._config)
                self._pid = os.getpid()
            return callback(options)

        return observe


class _SinceBirth:
    """What a forked child observes above the values that it was born with; the parent's stay as they are."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._pid = os.getpid()
        self._born: dict[Any, float] = {}

    def __call__(self, options: CallbackOptions) -> Iterator[Observation]:
        observed = [(_key(observation), observation) for observation in self._callback(options)]
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._born = {key: observation.value for key, observation in observed}
        for key, observation in observed:
            yield Observation(observation.value - self._born.get(key, 0), observation.attributes)


def _key(observation: Observation) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in (observation.attributes or {}).items()))


class _Provider:
    """A meter provider for the instrumentor, whose meters wrap the callbacks they are given."""

    def __init__(self, real: MeterProvider, wrap: Callable[[str, Callback], Callback]) -> None:
        self._real = real
        self._wrap = wrap

    def get_meter(self, *args: Any, **kwargs: Any) -> Any:
        return _Meter(self._real.get_meter(*args, **kwargs), self._wrap)


class _Meter:
    def __init__(self, real: Any, wrap: Callable[[str, Callback], Callback]) -> None:
        self._real = real
        self._wrap = wrap

    def __getattr__(self, method: str) -> Any:
        create = getattr(self._real, method)
        if not method.startswith("create_observable_"):
            return create

        def create_wrapped(name: str, callbacks: Sequence[Callback] = (), **kwargs: Any) -> Any:
            return create(name=name, callbacks=[self._wrap(name, callback) for callback in callbacks], **kwargs)

        return create_wrapped


def _configuration() -> dict[str, list[str] | None]:
    """Return the metrics that the instrumentor would record, OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS obeyed."""
    return dict(getattr(SystemMetricsInstrumentor(), "_config", None) or _DEFAULT_CONFIG)
