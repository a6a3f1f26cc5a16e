"""Certificates for a receiver on loopback and for who sends to it, of an authority that nobody else knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme

from otelfork.receiver import Tls


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: the authority's certificate, a server's and a client's certificate and key."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def tls(self, *, mutual: bool = False) -> Tls:
        """Return the server's side; `mutual`: it asks for a client's certificate."""
        return Tls(self.server, self.server_key, self.authority if mutual else None)

    def client_variables(self) -> dict[str, str]:
        """Return the standard variables of a client that shows its certificate."""
        return {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(self.authority),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(self.client),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(self.client_key),
        }


def make(folder: Path) -> Certificates:
    """Make all of them in a folder."""
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1", "localhost", "otel-collector.example.com")
    client = authority.issue_cert("client.example.com")
    names = ("authority", "server", "server_key", "client", "client_key")
    made = Certificates(*(folder / f"{name}.pem" for name in names))
    authority.cert_pem.write_to_path(str(made.authority))
    for issued, certificate, key in ((pair, made.server, made.server_key), (client, made.client, made.client_key)):
        issued.private_key_pem.write_to_path(str(key))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(certificate), append=True)
    return made
