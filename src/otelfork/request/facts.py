"""The facts of one request, the same whether they came in a WSGI environ or an ASGI scope.

Only what was sent, in raw form and cheap to take down; `attributes` makes the conventions' attributes of it, when and
where they are wanted. It knows nothing of spans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Told: TypeAlias = "tuple[str, str, str, str, str | int | None, str, Mapping[str, Any] | None]"
"""(path, query, user agent, peer, its port, X-Forwarded-For, captured headers): what a request alone was sent, as the fields of
`Request` have it; the port as the server says."""
Sent: TypeAlias = "str | bytes"
Sketch: TypeAlias = "tuple[Sent, Sent, Sent, str, str | int | None, Sent, Mapping[str, Any] | None]"
"""The same as a server gives it, which may be the bytes of it: decoded when somebody looks."""


class Forwarding(NamedTuple):
    """The headers that proxies add, each as one line (several lines of one header are joined with commas)."""

    forwarded: str = ""
    """`Forwarded` (RFC 7239)."""
    for_: str = ""
    """`X-Forwarded-For`."""
    proto: str = ""
    """`X-Forwarded-Proto`."""
    host: str = ""
    """`X-Forwarded-Host`."""
    port: str = ""
    """`X-Forwarded-Port`."""


class Request(NamedTuple):
    """One request as it was received. Text that was not sent is empty."""

    method: str
    """Case-sensitive, as sent; `GET` for a websocket's handshake."""
    scheme: str
    path: str
    """Undecoded, as sent, with the mount prefix, without the query."""
    query: str
    """Undecoded, without the `?`."""
    version: str
    """HTTP version in the server's words, such as `1.1`."""
    host: str
    """The `Host` header or `:authority`."""
    user_agent: str
    peer: str
    """Address of the other end of the connection, or of the client if the server already looked behind its proxy."""
    peer_port: int | None
    server: str
    """Address, name or unix socket path that the server listens on."""
    server_port: int | None
    forwarding: Forwarding | None
    websocket: bool = False
    headers: Mapping[str, Sequence[str]] | None = None
    """Captured request headers by lower-case name, already sanitized."""


def decoded(value: Sent) -> str:
    """Return what was sent as a server that speaks text has it: a character for each byte."""
    if isinstance(value, str):
        return value
    return bytes(value).decode("latin-1") if value else ""  # a careless server's bytearray or None, too


def read(sketch: Sketch) -> Told:
    """Return a sketch as text."""
    path, query, agent, peer, port, forwarded_for, headers = sketch
    return decoded(path), decoded(query), decoded(agent), peer, port, decoded(forwarded_for), headers


def utf8(path: Sent) -> bytes:
    """Return a path for the scoreboard."""
    if not isinstance(path, str):
        return bytes(path)  # a careless server's bytearray, too
    try:
        return path.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return path.encode("utf-8", "replace")


def text(value: str) -> str:
    """Return header text that can be exported: UTF-8 where it is that, else as ISO 8859-1.

    Servers hand over bytes as ISO 8859-1 (PEP 3333); a lone surrogate from a careless one would break the encoding of a
    whole batch of spans.
    """
    if value.isascii():
        return value
    try:
        raw = value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("utf-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return value


def port_number(value: object) -> int | None:
    """Return a port as a server gives it, a number or its digits; None for anything else."""
    if type(value) is int:
        return value if 0 <= value < 100_000 else None
    number = str(value)
    return int(number) if number.isascii() and number.isdigit() and len(number) <= 5 else None
