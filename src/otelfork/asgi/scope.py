"""The facts of a request as an ASGI server gives them (ASGI 3, HTTP and WebSocket message format): scope to Request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from operator import itemgetter
from typing import Any, TypeAlias
from urllib.parse import quote

from opentelemetry.propagators.textmap import Getter

from otelfork.request.capturing import capture
from otelfork.request.facts import Forwarding, Request, Sketch
from otelfork.request.kinds import Plan
from otelfork.settings.http import HttpSettings

Scope: TypeAlias = "MutableMapping[str, Any]"
Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
ASGIApplication: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"

_SAFE_IN_PATH = "/:@!$&'()*+,;=~"
_FORWARDING = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
_PROXIED = (b"forwarded", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
_REQUIRED, _OWN = (
    ("type", "method", "scheme", "http_version", "server"),
    ("raw_path", "root_path", "query_string", "client"),
)
required, own = itemgetter(*_REQUIRED), itemgetter(*_OWN)
"""What nearly every server gives: one call in place of several."""
_SINGLE = frozenset({b"host", b"user-agent"})


def read(scope: Mapping[str, Any], settings: HttpSettings) -> Request:
    """Return the facts of a request."""
    headers = join(scope.get("headers") or ())
    get = headers.get
    websocket = scope["type"] == "websocket"
    peer, peer_port = _end(scope.get("client"))
    server, server_port = _end(scope.get("server"))
    forwarded = tuple(map(get, _FORWARDING))
    captured = None
    if settings.request_headers is not None:
        captured = capture(decoded(scope["headers"]), settings.request_headers, settings)
    return Request(
        # A websocket's scope has no method: its handshake is a GET (over HTTP/2 an extended CONNECT, RFC 8441).
        method="GET" if websocket else scope.get("method", ""),
        scheme=scope.get("scheme") or ("ws" if websocket else "http"),
        path=raw_path(scope),
        query=(scope.get("query_string") or b"").decode("latin-1"),
        version=scope.get("http_version") or "",
        host=get(b"host", b"").decode("latin-1"),
        user_agent=get(b"user-agent", b"").decode("latin-1"),
        peer=peer,
        peer_port=peer_port,
        server=server,
        server_port=server_port,
        forwarding=Forwarding(*[(value or b"").decode("latin-1") for value in forwarded]) if any(forwarded) else None,
        websocket=websocket,
        headers=captured,
    )


def is_proxied(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether proxies have said how they were asked."""
    return (
        b"x-forwarded-proto" in headers
        or b"x-forwarded-host" in headers
        or b"x-forwarded-port" in headers
        or b"forwarded" in headers
    )


def key(scope: Mapping[str, Any], headers: Mapping[bytes, bytes], plan: Plan) -> tuple[Any, ...]:
    """Return what the kind of a request depends on: what `read` reads, less what belongs to a `Sketch`."""
    try:
        first: tuple[Any, ...] = required(scope)
    except KeyError:
        first = tuple(map(scope.get, _REQUIRED))
    if type(first[-1]) is list:  # the server: allowed, and no key of a dictionary
        first = (*first[:-1], tuple(first[-1]))
    known: tuple[Any, ...] = (first, headers.get(b"host"))
    if is_proxied(headers):
        known += proxied(headers)
    return known if plan.trusts_all else (*known, _end(scope.get("client"))[0])


def proxied(headers: Mapping[bytes, bytes]) -> tuple[Any, ...]:
    """Return what the kind of a request depends on of what proxies have said."""
    return tuple(map(headers.get, _PROXIED))


def sketch(scope: Mapping[str, Any], headers: Mapping[bytes, bytes], plan: Plan) -> Sketch:
    """Return what `read` returns, less what belongs to the kind of the request."""
    try:
        raw, root, query, client = own(scope)
    except KeyError:
        raw, root, query, client = map(scope.get, _OWN)
    path = raw.decode("latin-1") if raw and not root and b"?" not in raw else raw_path(scope)
    agent, forwarded_for = headers.get(b"user-agent"), headers.get(b"x-forwarded-for")
    peer, port = _end(client)
    captured = None
    wanted = plan.settings.request_headers
    if wanted is not None:
        captured = capture(decoded(scope["headers"]), wanted, plan.settings)
    return (
        path, query.decode("latin-1") if query else "", agent.decode("latin-1") if agent else "", peer, port,
        forwarded_for.decode("latin-1") if forwarded_for else "", captured,
    )  # fmt: skip


def join(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name; several lines of one header are joined with commas (RFC 9110, section 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        seen = found.get(name)
        if seen is None:
            found[name] = value
        elif name not in _SINGLE:
            found[name] = seen + b"," + value
    return found


def raw_path(scope: Mapping[str, Any]) -> str:
    """Return the path as it was sent, with the mount prefix; encoded again where the server gives no raw path."""
    root: str = scope.get("root_path") or ""
    raw: bytes | None = scope.get("raw_path")
    path = raw.partition(b"?")[0].decode("latin-1") if raw else _quoted(scope.get("path") or "")
    if root:
        # Since ASGI 2.4 the path includes the root path; older servers leave it out.
        prefix = _quoted(root.rstrip("/"))
        if path != prefix and not path.startswith(prefix + "/"):
            return prefix + path
    return path


def _quoted(path: str) -> str:
    return quote(path, _SAFE_IN_PATH, errors="replace")  # a lone surrogate, from a server that decodes carelessly


def decoded(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    """Yield headers as text, byte for character."""
    for name, value in headers:
        yield bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1")


def _end(pair: Any) -> tuple[str, int | None]:
    """Return address and port of `client` or `server`; a unix socket has a path and no port."""
    if not pair:
        return "", None
    address, port = pair[:2]  # an IPv6 address of asyncio's has two numbers more
    if type(address) is str and type(port) is int:
        return address, port
    return str(address or ""), port if isinstance(port, int) else None


_KEYS = {key: key.encode() for key in ("traceparent", "tracestate", "baggage")}


class ScopeGetter(Getter[Mapping[str, Any]]):
    """Reads headers for a propagator, each line by itself."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        """Return the header's lines, or None."""
        name = _KEYS.get(key) or key.lower().encode("latin-1")
        lines = [value.decode("latin-1") for header, value in carrier.get("headers") or () if header == name]
        if len(lines) > 1 and name == b"baggage":
            return [",".join(lines)]  # the API's baggage propagator reads the first line only
        return lines or None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        """Return the names of all headers."""
        return [name for name, _ in decoded(carrier.get("headers") or ())]


GETTER = ScopeGetter()
