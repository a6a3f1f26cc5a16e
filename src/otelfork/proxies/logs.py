"""The logger provider and loggers that follow the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import _logs as api
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk.resources import Resource

from otelfork import forks
from otelfork.proxies.follower import Follower, Providers, providers

_FLUSH_MILLIS = 30_000


class ProxyLogger(Follower[api.Logger], api.Logger):
    """A logger by name, whatever process uses it."""

    def __init__(self, name: str, version: str | None, schema_url: str | None, attributes: Any) -> None:
        Follower.__init__(self)
        api.Logger.__init__(self, name, version=version, schema_url=schema_url, attributes=attributes)
        self._arguments = (name, version, schema_url, attributes)

    def _make(self, providers: Providers) -> api.Logger:
        return providers.logger_provider.get_logger(*self._arguments)

    def enabled(self, *args: Any, **kwargs: Any) -> bool:
        """Tell whether a record would be kept (see `opentelemetry._logs.Logger.enabled`)."""
        return bool(self.real().enabled(*args, **kwargs))

    def emit(self, *args: Any, **kwargs: Any) -> None:
        """Emit a record (see `opentelemetry._logs.Logger.emit`)."""
        self.real().emit(*args, **kwargs)


class ProxyLoggerProvider(sdk.LoggerProvider):
    """Stands in the global seat. The SDK's constructor is not called (see `ProxyTracerProvider`)."""

    def __init__(
        self,
        add_log_record_processor: Callable[[sdk.LogRecordProcessor], None],
        glance: Callable[[], Any] = lambda: None,
    ) -> None:
        self._add = add_log_record_processor
        self._glance = glance

    def get_logger(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> api.Logger:
        """Return a logger of that name (see `opentelemetry._logs.LoggerProvider.get_logger`)."""
        return ProxyLogger(name, version, schema_url, attributes)

    @property
    def resource(self) -> Resource:
        """The resource of this process."""
        return getattr(self._glance() or providers().logger_provider, "resource", None) or Resource.get_empty()

    def add_log_record_processor(self, log_record_processor: sdk.LogRecordProcessor) -> None:
        """Add a processor here, and in children where it exports nothing (see `otelfork.configure`)."""
        self._add(log_record_processor)

    def force_flush(self, timeout_millis: int = _FLUSH_MILLIS) -> bool:
        """Export everything recorded in this process."""
        return forks.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Flush and stop this process's telemetry."""
        forks.shutdown(_FLUSH_MILLIS / 1000)
