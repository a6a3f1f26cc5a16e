"""The files by which a receiver speaks TLS. It makes none: certificates are for whoever starts the receiver to bring."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of a server.

    Attributes:
        certificate: its certificate, with those between it and the authority.
        key: its private key.
        clients: the authority that clients' certificates have to be of; None takes every client.
    """

    certificate: Path
    key: Path
    clients: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return it for sockets of Python's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if self.clients is not None:
            context.load_verify_locations(self.clients)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> Any:
        """Return it for gRPC."""
        clients = None if self.clients is None else self.clients.read_bytes()
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], clients, require_client_auth=clients is not None)
