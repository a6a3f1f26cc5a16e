"""Who asked whom: client, server and scheme of a request, as seen through the proxies that are trusted.

Source: http-spans.md, "Setting `server.address` and `server.port`"; RFC 7239 (`Forwarded`); RFC 9110 section 7.2 (`Host`).
No input raises: what cannot be read counts as not sent.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

from otelfork.request.facts import Forwarding, Request
from otelfork.settings.http import HttpSettings, Network

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# A name, an IPv4 address or an IPv6 address in brackets; what else stands in a Host header is an attack or an accident.
_HOST = re.compile(r"(?:[^@]*@)?(?:\[([0-9A-Fa-f:.%A-Za-z_-]+)\]|([^\s:/?#\[\]@,;\"\\]+))(?::(\d{0,5}))?")
_FORWARDED_PAIR = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*(;|$)')
_ELEMENTS = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_MOST_HOPS = 32
_LONGEST_KEPT = 256
"""Characters of forwarding headers whose first hop is kept for the next request of the same client."""
_EMPTY = Forwarding()


class Addresses(NamedTuple):
    """The two ends of a request, and the scheme it was sent with."""

    scheme: str
    server: str
    server_port: int | None
    client: str


class _Hop(NamedTuple):
    for_: str
    proto: str
    host: str


def resolve(request: Request, settings: HttpSettings) -> Addresses:
    """Return the ends of a request: from trusted forwarding headers, then `Host`, then the socket."""
    forwarding = request.forwarding
    if forwarding is None or not _trusted(request.peer, settings):
        hop, port = _NO_HOP, ""
    else:
        short = sum(map(len, forwarding)) <= _LONGEST_KEPT
        hop = _kept_hop(forwarding, settings.trust) if short else _first_hop(forwarding, settings.trust)
        port = forwarding.port if not forwarding.forwarded else ""
    scheme = hop.proto or request.scheme
    server, server_port = split_host(hop.host) if hop.host else ("", None)
    if not server:
        server, server_port = split_host(request.host) if request.host else ("", None)
    if port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536:
        server_port = int(port)
    if not server:
        server, server_port = request.server, request.server_port
    elif server_port is None:
        server_port = _DEFAULT_PORTS.get(scheme)
    return Addresses(scheme, server, server_port, hop.for_ or request.peer)


def client_address(peer: str, forwarded: str, forwarded_for: str, settings: HttpSettings) -> str:
    """Return the client that `resolve` finds: nothing else that was sent has a part in it."""
    if not (forwarded or forwarded_for) or not _trusted(peer, settings):
        return peer
    if forwarded or settings.trust is not None:
        return _first_hop(Forwarding(forwarded, forwarded_for), settings.trust).for_ or peer
    # As `_believed` has it, with the nodes alone: there are as many clients as there are people.
    nodes = map(_node, forwarded_for.split(",")[-_MOST_HOPS:])
    return next(filter(None, nodes), peer)


@lru_cache(maxsize=256)
def split_host(host: str) -> tuple[str, int | None]:
    """Return name and port of a `Host` value; ("", None) if it is none. Brackets and userinfo are taken off."""
    match = _HOST.fullmatch(host.strip())
    if match is None or len(host) > 300:
        return "", None
    bracketed, plain, digits = match.groups()
    port = int(digits) if digits else None
    return bracketed or plain, port if port is None or 0 < port < 65536 else None


_NO_HOP = _Hop("", "", "")


def _first_hop(forwarding: Forwarding, trust: tuple[Network, ...] | None) -> _Hop:
    """Return what the first proxy said that can be believed: the leftmost entry, or the last before an untrusted one."""
    if forwarding.forwarded:
        hops = [_parse_element(element) for element in _ELEMENTS.findall(forwarding.forwarded)[-_MOST_HOPS:]]
        if any(hop != _NO_HOP for hop in hops):
            return _believed(hops, trust)
    clients = [_node(part) for part in forwarding.for_.split(",")[-_MOST_HOPS:]] if forwarding.for_ else []
    client = _believed([_Hop(client, "", "") for client in clients], trust).for_ if clients else ""
    return _Hop(client, _scheme(forwarding.proto), _first(forwarding.host))


_kept_hop = lru_cache(maxsize=1024)(_first_hop)


def _believed(hops: list[_Hop], trust: tuple[Network, ...] | None) -> _Hop:
    if trust is None:
        # Each proxy appends: the first entry that names something is nearest to the client.
        return _Hop(*(next((value for value in values if value), "") for values in zip(*hops, strict=True)))
    for hop in reversed(hops):
        if not _is_proxy(hop.for_, trust):
            return hop
    return hops[0]


def _trusted(peer: str, settings: HttpSettings) -> bool:
    if settings.trust is None:
        return True
    if not peer:
        return settings.trust_unix
    return _is_proxy(peer, settings.trust)


@lru_cache(maxsize=1024)
def _is_proxy(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def _parse_element(element: str) -> _Hop:
    """Return one element of a `Forwarded` header; a parameter that cannot be read ends it."""
    found: dict[str, str] = {}
    position = 0
    while position < len(element):
        match = _FORWARDED_PAIR.match(element, position)
        if match is None:
            break
        name, quoted, token, _ = match.groups()
        found[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else token
        position = match.end()
    return _Hop(_node(found.get("for", "")), _scheme(found.get("proto", "")), found.get("host", ""))


def _node(value: str) -> str:
    """Return the address of a `for=` node without its port. Obfuscated and unknown nodes name nobody."""
    value = value.strip().strip('"')
    if not value or value.startswith("_") or value.lower() == "unknown" or len(value) > 300:
        return ""
    if value.count(":") > 1 and not value.startswith("["):
        return value  # a bare IPv6 address, as X-Forwarded-For has it
    return split_host(value)[0]


def _scheme(value: str) -> str:
    """Return the scheme if it is one we know: a stranger's header must not make new metric series."""
    scheme = _first(value).lower()
    return scheme if scheme in _DEFAULT_PORTS else ""


def _first(value: str) -> str:
    return value.partition(",")[0].strip()
