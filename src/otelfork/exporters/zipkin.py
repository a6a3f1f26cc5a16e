"""Zipkin: the kept JSON exporter (Zipkin's API v2), with connections that a forked child can let go of.

Its protobuf sibling, which the entry point `zipkin` names, asks for a protobuf older than OTLP's: the two do not install together.
It reads OTEL_EXPORTER_ZIPKIN_ENDPOINT and OTEL_EXPORTER_ZIPKIN_TIMEOUT by itself.
"""

from __future__ import annotations

from otelfork.exporters import Factory
from otelfork.settings import Environment, Settings, SettingsError


def factory(signal: str, settings: Settings) -> Factory:  # noqa: ARG001 - every exporter module has this signature
    """Import the exporter and return its factory.

    Raises:
        ImportError: the extra `zipkin` is not installed.
        SettingsError: Zipkin takes spans only, or its timeout is no whole number of seconds.
    """
    from opentelemetry.exporter.zipkin.json import ZipkinExporter

    from otelfork.exporters.session import new_session

    if signal != "traces":
        raise SettingsError(
            f"OTEL_{signal.upper()}_EXPORTER", "zipkin", "another exporter, for Zipkin takes traces only"
        )
    Environment().integer("OTEL_EXPORTER_ZIPKIN_TIMEOUT", 10, minimum=1)
    return lambda: ZipkinExporter(session=new_session())
