"""Where Jaeger's collector is: the `OTEL_EXPORTER_JAEGER_*` variables that OpenTelemetry had for Thrift over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from otelfork.settings.environment import Environment, SettingsError

ENDPOINT = "OTEL_EXPORTER_JAEGER_ENDPOINT"
DEFAULT_ENDPOINT = "http://localhost:14268/api/traces"


@dataclass(frozen=True, slots=True)
class JaegerSettings:
    """The collector's address and how to send there. The timeout is in seconds, for one batch with all its retries."""

    endpoint: str = DEFAULT_ENDPOINT
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 10.0
    certificate: str = ""
    """The file of the authority that the collector's certificate is of; "" is one that the machine knows."""

    @classmethod
    def read(cls, environment: Environment | None = None) -> JaegerSettings:
        """Read and check the environment.

        Raises:
            SettingsError: the endpoint is no address, the timeout no number, or the certificate no file.
        """
        env = environment or Environment()
        endpoint = env.text(ENDPOINT, default=DEFAULT_ENDPOINT)
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(ENDPOINT, endpoint, f"an address such as {DEFAULT_ENDPOINT}")
        return cls(
            endpoint=endpoint,
            user=env.text("OTEL_EXPORTER_JAEGER_USER"),
            password=env.text("OTEL_EXPORTER_JAEGER_PASSWORD"),
            timeout=env.number("OTEL_EXPORTER_JAEGER_TIMEOUT", 10.0),
            certificate=env.file("OTEL_EXPORTER_JAEGER_CERTIFICATE"),
        )
