"""The facts of a request as a WSGI server gives them (PEP 3333): environ to Request, headers for propagators, the body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, TypeAlias
from urllib.parse import quote

from opentelemetry.propagators.textmap import Getter

from otelfork.request.capturing import capture
from otelfork.request.exchange import Exchange
from otelfork.request.facts import Forwarding, Request, Sketch, port_number
from otelfork.request.kinds import Plan
from otelfork.settings.http import HttpSettings

Environ: TypeAlias = "dict[str, Any]"

_SAFE_IN_PATH = "/:@!$&'()*+,;=~"
"""What RFC 3986 allows in a path beside letters and digits: a sender has no reason to encode it."""
_REQUIRED = ("REQUEST_METHOD", "wsgi.url_scheme", "HTTP_HOST", "SERVER_PROTOCOL", "SERVER_NAME", "SERVER_PORT")
required = itemgetter(*_REQUIRED)
"""All but the host are in every environ (PEP 3333)."""
_OWN = ("RAW_URI", "QUERY_STRING", "HTTP_USER_AGENT", "REMOTE_ADDR", "REMOTE_PORT")
own = itemgetter(*_OWN)
"""What most servers and clients send with every request: one call in place of five."""
_FORWARDING = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
)

_PROXIED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT")


def is_proxied(environ: Environ) -> bool:
    """Tell whether proxies have said how they were asked."""
    # One by one, which takes half of the time of a set's method.
    return (
        "HTTP_X_FORWARDED_PROTO" in environ
        or "HTTP_X_FORWARDED_HOST" in environ
        or "HTTP_X_FORWARDED_PORT" in environ
        or "HTTP_FORWARDED" in environ
    )


def read(environ: Environ, settings: HttpSettings) -> Request:
    """Return the facts of a request."""
    get = environ.get
    forwarded = tuple(map(get, _FORWARDING))
    headers = None
    if settings.request_headers is not None:
        headers = capture(_headers(environ), settings.request_headers, settings)
    return Request(  # in the order of its fields: keywords cost
        get("REQUEST_METHOD", ""),
        get("wsgi.url_scheme", "http"),
        raw_path(environ),
        get("QUERY_STRING") or "",
        get("SERVER_PROTOCOL", "").partition("/")[2],
        get("HTTP_HOST") or "",
        get("HTTP_USER_AGENT") or "",
        get("REMOTE_ADDR") or "",
        port_number(get("REMOTE_PORT")),
        get("SERVER_NAME") or "",
        port_number(get("SERVER_PORT")),
        Forwarding(*[value or "" for value in forwarded]) if any(forwarded) else None,
        False,
        headers,
    )


def raw_path(environ: Environ) -> str:
    """Return the path as it was sent; where the server keeps no raw URI, encoded again from its decoded parts."""
    raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if raw:
        path = raw.partition("?")[0]
        if path.startswith("/") or "://" not in path:
            return path
        # The absolute form of RFC 9112, section 3.2.2, as proxies send it.
        return "/" + path.partition("://")[2].partition("/")[2]
    decoded = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return quote(decoded.encode("latin-1", "replace"), safe=_SAFE_IN_PATH)


def key(environ: Environ, plan: Plan) -> tuple[Any, ...]:
    """Return what the kind of a request depends on: what `read` reads, less what belongs to a `Sketch`."""
    try:
        known: tuple[Any, ...] = required(environ)
    except KeyError:
        known = tuple(map(environ.get, _REQUIRED))
    if is_proxied(environ):
        known += proxied(environ)
    return known if plan.trusts_all else (*known, environ.get("REMOTE_ADDR"))


def proxied(environ: Environ) -> tuple[Any, ...]:
    """Return what the kind of a request depends on of what proxies have said."""
    return tuple(map(environ.get, _PROXIED))


def sketch(environ: Environ, plan: Plan) -> Sketch:
    """Return what `read` returns, less what belongs to the kind of the request."""
    try:
        uri, query, agent, peer, port = own(environ)
    except KeyError:
        uri, query, agent, peer, port = map(environ.get, _OWN)
    path = uri.partition("?")[0] if uri and uri[0] == "/" else raw_path(environ)
    headers = None
    wanted = plan.settings.request_headers
    if wanted is not None:
        headers = capture(_headers(environ), wanted, plan.settings)
    return path, query or "", agent or "", peer or "", port, environ.get("HTTP_X_FORWARDED_FOR") or "", headers


def _headers(environ: Environ) -> Iterator[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-").lower(), str(value)
        elif key in {"CONTENT_TYPE", "CONTENT_LENGTH"} and value:
            yield key.replace("_", "-").lower(), str(value)


_KEYS = {key: "HTTP_" + key.upper() for key in ("traceparent", "tracestate", "baggage")}


class EnvironGetter(Getter[Environ]):
    """Reads a header for a propagator. The server has joined several lines of one header with commas."""

    def get(self, carrier: Environ, key: str) -> list[str] | None:
        """Return the header in a list of one, or None."""
        value = carrier.get(_KEYS.get(key) or "HTTP_" + key.upper().replace("-", "_"))
        return None if value is None else [value]

    def keys(self, carrier: Environ) -> list[str]:
        """Return the names of all headers."""
        return [name for name, _ in _headers(carrier)]


GETTER = EnvironGetter()


class Input:
    """The server's `wsgi.input` with a count of the bytes that the application took; all else is the server's own."""

    __slots__ = ("_exchange", "_input")

    def __init__(self, source: Any, exchange: Exchange) -> None:
        self._input = source
        self._exchange = exchange

    def read(self, *size: Any) -> bytes:
        """Read like the server's stream."""
        return self._counted(self._input.read(*size))

    def readline(self, *size: Any) -> bytes:
        """Read a line like the server's stream."""
        return self._counted(self._input.readline(*size))

    def readlines(self, *hint: Any) -> list[bytes]:
        """Read lines like the server's stream."""
        lines: list[bytes] = self._input.readlines(*hint)
        self._exchange.received += sum(map(len, lines))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        source: Iterable[bytes] = self._input
        return map(self._counted, source)

    def __getattr__(self, name: str) -> Any:
        if name == "readinto":
            return self._readinto(self._input.readinto)
        return getattr(self._input, name)

    def _readinto(self, readinto: Any) -> Any:
        def counted(buffer: Any) -> Any:
            size = readinto(buffer)
            self._exchange.received += size or 0
            return size

        return counted

    def _counted(self, data: bytes) -> bytes:
        if data:  # a stream that does not block may have None
            self._exchange.received += len(data)
        return data


def watch_input(environ: Environ, exchange: Exchange, *, framed: bool) -> None:
    """Count what the application reads of the request's body, where there can be one.

    Args:
        environ: the request.
        exchange: where it is counted.
        framed: whether a body need not be announced (see `Kind.framed`).
    """
    if not framed and environ.get("CONTENT_LENGTH") in _NO_BODY and "HTTP_TRANSFER_ENCODING" not in environ:
        return
    source = environ.get("wsgi.input")
    if source is not None:
        environ["wsgi.input"] = Input(source, exchange)


_NO_BODY = (None, "", "0")
