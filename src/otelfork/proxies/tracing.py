"""The tracer provider and tracers that follow the process.

Private names of OpenTelemetry used here: `opentelemetry.util._decorator._agnosticcontextmanager`, as the API's own proxy tracer
does, so that `@tracer.start_as_current_span("...")` works on coroutine functions too. Fallback: `contextlib.contextmanager`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from otelfork import forks
from otelfork.proxies.follower import Follower, Providers, providers
from otelfork.request.origin import told

_agnostic: Any
try:
    from opentelemetry.util._decorator import _agnosticcontextmanager as _agnostic
except ImportError:  # a later API: only decorated coroutine functions lose by it
    _agnostic = contextmanager

_logger = logging.getLogger("otelfork")
_FLUSH_MILLIS = 30_000


class ProxyTracer(Follower[trace.Tracer], trace.Tracer):
    """A tracer by name, whatever process uses it."""

    __slots__ = ("_arguments",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__()
        self._arguments = arguments

    def _make(self, providers: Providers) -> trace.Tracer:
        return providers.tracer_provider.get_tracer(*self._arguments)

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        attributes: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> trace.Span:
        """Start a span of the current generation (see `opentelemetry.trace.Tracer.start_span`)."""
        return told(self.real().start_span(name, context, kind, attributes, *args, **kwargs), kind, attributes)

    @_agnostic  # type: ignore[untyped-decorator]
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[trace.Span]:
        """Start a span and make it current (see `opentelemetry.trace.Tracer.start_as_current_span`)."""
        with self.real().start_as_current_span(*args, **kwargs) as span:
            yield span


class ProxyTracerProvider(sdk.TracerProvider):
    """Stands in the global seat. An SDK provider by type, so that `isinstance` checks of applications hold.

    The SDK's constructor is not called: it would register an at-fork hook and an exit handler for an object without state.
    """

    def __init__(
        self, add_span_processor: Callable[[sdk.SpanProcessor], None], glance: Callable[[], Any] = lambda: None
    ) -> None:
        self._add = add_span_processor
        self._glance = glance
        self._proxies: dict[Any, ProxyTracer] = {}

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> trace.Tracer:
        """Return the tracer of that name (see `opentelemetry.trace.TracerProvider.get_tracer`)."""
        key = (
            instrumenting_module_name,
            instrumenting_library_version,
            schema_url,
            tuple(sorted((attributes or {}).items(), key=lambda item: item[0])) if attributes else (),
        )
        arguments = (*key[:3], attributes)
        try:
            return self._proxies.setdefault(key, ProxyTracer(*arguments))
        except TypeError:  # attribute values that cannot be hashed
            return ProxyTracer(*arguments)

    @property
    def resource(self) -> Resource:
        """The resource of this process."""
        return self._seen("resource") or Resource.get_empty()

    @property
    def sampler(self) -> Sampler | None:  # type: ignore[override]
        """The sampler of this process."""
        sampler: Sampler | None = self._seen("sampler")
        return sampler

    @property
    def id_generator(self) -> IdGenerator | None:  # type: ignore[override]
        """The id generator of this process."""
        generator: IdGenerator | None = self._seen("id_generator")
        return generator

    def _seen(self, name: str) -> Any:
        """Return an attribute of this process's provider, without building one for it."""
        return getattr(self._glance() or providers().tracer_provider, name, None)

    def add_span_processor(self, span_processor: sdk.SpanProcessor) -> None:
        """Add a processor here, and in children where it exports nothing (see `otelfork.configure`)."""
        self._add(span_processor)

    def force_flush(self, timeout_millis: int = _FLUSH_MILLIS) -> bool:
        """Export everything recorded in this process."""
        return forks.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Flush and stop this process's telemetry."""
        forks.shutdown(_FLUSH_MILLIS / 1000)
