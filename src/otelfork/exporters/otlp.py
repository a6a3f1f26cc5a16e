"""OTLP over gRPC and over HTTP/protobuf: the standard exporters, with connections that a forked child can let go of.

The standard exporters read their own variables (endpoint, headers, timeout, compression and certificates per signal). Ours are
the HTTP session (see `session`) and the encoding of spans (see `private`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from otelfork.exporters import Factory
from otelfork.settings import Environment, Settings

_CREDENTIAL_PROVIDERS = tuple(
    f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{part}CREDENTIAL_PROVIDER" for part in ("", "TRACES_", "METRICS_", "LOGS_")
)


@dataclass(frozen=True, slots=True)
class _Made:
    """A factory of OTLP exporters, and whether there can be a spool in front of them (see `exporters.Spoolable`)."""

    make: Factory
    signal: str
    takes_parcels: bool

    def __call__(self) -> Any:
        return self.make()

    def packer(self) -> Callable[[Sequence[Any]], bytes]:
        """Return what encodes batches for the spool."""
        from otelfork.exporters import private

        return private.packer(self.signal)


def factory(signal: str, settings: Settings) -> Factory:
    """Import the exporter of a signal and return its factory.

    Raises:
        ImportError: the extra `otlp` is not installed.
    """
    if settings.protocols[signal] == "grpc":
        return _grpc(signal)
    return _http(signal)


def _grpc(signal: str) -> Factory:
    # grpc imports these when it makes its first channel. A fork at that moment leaves the child an import lock that is never
    # released. `_channel` is a private name: without it there is only this wait, at worst.
    for late in ("grpc.experimental", "grpc._channel"):
        with contextlib.suppress(ImportError):
            import_module(late)

    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    from otelfork.exporters import private, rpc

    classes: dict[str, tuple[Factory, type]] = {
        "traces": (private.over_grpc(OTLPSpanExporter), OTLPSpanExporter),
        "metrics": (private.metrics_over_grpc(OTLPMetricExporter), OTLPMetricExporter),
        "logs": (private.logs_over_grpc(OTLPLogExporter), OTLPLogExporter),
    }
    made, standard = classes[signal]
    exporter: Callable[..., Any] = made
    # One try in an export, and the next when the stream says so: no other signal waits for it.
    compression = _grpc_compression(signal)
    return _Made(
        lambda: exporter(retryable_error_codes=rpc.one_try(), compression=compression),
        signal,
        private.takes_parcels(made, standard),
    )


def _grpc_compression(signal: str) -> Any:
    """Return gRPC's compression; the standard exporter refuses `none` and `deflate`, which the specification knows."""
    kinds: Any = import_module("grpc").Compression
    chosen = Environment().text(f"OTEL_EXPORTER_OTLP_{signal.upper()}_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
    return {"gzip": kinds.Gzip, "deflate": kinds.Deflate}.get(chosen.lower(), kinds.NoCompression)


def _http(signal: str) -> Factory:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from otelfork.exporters import private
    from otelfork.exporters.session import new_session

    classes: dict[str, tuple[Factory, type]] = {
        "traces": (private.over_http(OTLPSpanExporter), OTLPSpanExporter),
        "metrics": (OTLPMetricExporter, OTLPMetricExporter),
        "logs": (private.logs_over_http(OTLPLogExporter), OTLPLogExporter),
    }
    made, standard = classes[signal]
    exporter: Callable[..., Any] = made
    parcels = private.takes_parcels(made, standard)
    if Environment().is_set(*_CREDENTIAL_PROVIDERS):
        return _Made(exporter, signal, parcels)  # the user's credential provider brings a session of its own
    return _Made(lambda: exporter(session=new_session()), signal, parcels)
