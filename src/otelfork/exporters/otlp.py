"""OTLP over gRPC and over HTTP/protobuf: the standard exporters, with connections that a forked child can let go of.

The standard exporters read their own variables (endpoint, headers, timeout, compression and certificates per signal). Ours is
only the HTTP session: it notes the number of each socket, so that a child closes its inherited copy without touching the
connection (an orphan would keep the collector's connection open, and two processes on one socket mix their requests).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otelfork import forks
from otelfork.exporters import Factory
from otelfork.settings import Environment, Settings

_CREDENTIAL_PROVIDERS = tuple(
    f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{part}CREDENTIAL_PROVIDER" for part in ("", "TRACES_", "METRICS_", "LOGS_")
)


def factory(signal: str, settings: Settings) -> Factory:
    """Import the exporter of a signal and return its factory.

    Raises:
        ImportError: the extra `otlp` is not installed.
    """
    if settings.protocols[signal] == "grpc":
        return _grpc(signal)
    return _http(signal)


def _grpc(signal: str) -> Factory:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    classes: dict[str, Factory] = {
        "traces": OTLPSpanExporter,
        "metrics": OTLPMetricExporter,
        "logs": OTLPLogExporter,
    }
    return classes[signal]


def _http(signal: str) -> Factory:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    classes: dict[str, Callable[..., Any]] = {
        "traces": OTLPSpanExporter,
        "metrics": OTLPMetricExporter,
        "logs": OTLPLogExporter,
    }
    exporter = classes[signal]
    if Environment().is_set(*_CREDENTIAL_PROVIDERS):
        return exporter  # the user's credential provider brings a session of its own
    new_session = _session_factory()
    return lambda: exporter(session=new_session())


def _session_factory() -> Factory:
    """Return what makes an HTTP session whose sockets are known to `forks`.

    Source: urllib3 documentation, `PoolManager.pool_classes_by_scheme` and `HTTPConnectionPool.ConnectionCls`.
    """
    import requests
    import requests.adapters
    import urllib3
    import urllib3.connection

    class _Noted:
        sock: Any

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            forks.own(self.sock.fileno())

        def close(self) -> None:
            if self.sock is not None:
                forks.disown(self.sock.fileno())
            super().close()  # type: ignore[misc]

    class _Connection(_Noted, urllib3.connection.HTTPConnection):
        pass

    class _SecureConnection(_Noted, urllib3.connection.HTTPSConnection):
        pass

    class _Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = _Connection

    class _SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = _SecureConnection

    class _Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def session() -> requests.Session:
        made = requests.Session()
        for scheme in ("http://", "https://"):
            made.mount(scheme, _Adapter())
        return made

    return session
