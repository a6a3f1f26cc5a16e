"""What a request looks like in the words of the stable HTTP conventions.

Pure functions from facts to attributes; they know no span and no instrument.
Source: http-spans.md, "HTTP server span".
"""

from __future__ import annotations

from typing import TypeAlias

from otelfork import semconv
from otelfork.request import oldnames
from otelfork.request.addresses import Addresses, resolve
from otelfork.request.facts import Request, text
from otelfork.request.redaction import redact_query
from otelfork.settings.http import HttpSettings

Value: TypeAlias = "str | int | tuple[str, ...]"
Attributes: TypeAlias = "dict[str, Value]"


def method_name(method: str, settings: HttpSettings) -> str:
    """Return the method as an attribute: a known one as it is, `_OTHER` for the rest. Methods are case-sensitive."""
    return method if method in (settings.known_methods or semconv.KNOWN_METHODS) else semconv.OTHER_METHOD


def of_request(request: Request, addresses: Addresses, method: str, settings: HttpSettings) -> Attributes:
    """Return the attributes that are known when a request begins, in one dictionary.

    Args:
        request: what was sent.
        addresses: the ends that `addresses.resolve` found.
        method: what `method_name` made of the method.
        settings: what to hide and to add.
    """
    return finished({**common(addresses, method, request), **own(request, addresses, settings)}, settings)


def mapped(settings: HttpSettings) -> bool:
    """Tell whether `finished` changes anything."""
    return settings.old_names


def finished(found: Attributes, settings: HttpSettings) -> Attributes:
    """Return attributes as they are exported: those that are known at the begin, and then those of the end.

    The one place where other names are added to ours.
    """
    return oldnames.doubled(found) if settings.old_names else found


def common(addresses: Addresses, method: str, request: Request) -> Attributes:
    """Return those attributes that many requests have in common."""
    found: Attributes = {semconv.HTTP_REQUEST_METHOD: method, semconv.URL_SCHEME: text(addresses.scheme)}
    if method == semconv.OTHER_METHOD:
        found[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = text(request.method)
    found.update(of_server(addresses.server, addresses.server_port))
    if request.websocket:
        found[semconv.NETWORK_PROTOCOL_NAME] = "websocket"
    version = semconv.PROTOCOL_VERSIONS.get(request.version)
    if version is not None:
        found[semconv.NETWORK_PROTOCOL_VERSION] = version
    return found


def of_server(address: str, port: int | None) -> Attributes:
    """Return the attributes of the server that was asked for; nothing where it has no name."""
    if not address:
        return {}
    found: Attributes = {semconv.SERVER_ADDRESS: text(address)}
    if port is not None:
        found[semconv.SERVER_PORT] = port
    return found


def own(request: Request, addresses: Addresses, settings: HttpSettings) -> Attributes:
    """Return the attributes that are this request's alone."""
    found: Attributes = {semconv.URL_PATH: text(request.path)}
    if request.query:
        found[semconv.URL_QUERY] = query(request.query, settings)
    found.update(ends(addresses, request.peer))
    if request.user_agent:
        found[semconv.USER_AGENT_ORIGINAL] = text(request.user_agent)
    if request.peer and request.peer_port is not None:
        found[semconv.NETWORK_PEER_PORT] = request.peer_port
    if request.headers:
        for name, values in request.headers.items():
            found[semconv.REQUEST_HEADER + name] = tuple(values)
    return found


def query(sent: str, settings: HttpSettings) -> str:
    """Return a query without its secrets."""
    return text(redact_query(sent, settings.redacted_keys))


def ends(addresses: Addresses, peer: str) -> Attributes:
    """Return the other ends of a request: the client, and who holds the connection."""
    found: Attributes = {}
    if addresses.client:
        found[semconv.CLIENT_ADDRESS] = text(addresses.client)
    if peer:
        found[semconv.NETWORK_PEER_ADDRESS] = text(peer)
    return found


def of_end(status: int | None, error_type: str | None, route: str | None) -> Attributes:
    """Return the attributes that are known when a request ends."""
    found: Attributes = {}
    if status is not None:
        found[semconv.HTTP_RESPONSE_STATUS_CODE] = status
    if error_type is not None:
        found[semconv.ERROR_TYPE] = error_type
    if route is not None:
        found[semconv.HTTP_ROUTE] = route
    return found


def full_url(request: Request, settings: HttpSettings) -> str:
    """Return the URL that excluded-url patterns are searched in: scheme, host and port, path and query as sent."""
    query = f"?{request.query}" if request.query else ""
    return f"{url_start(resolve(request, settings))}{request.path}{query}"


def url_start(addresses: Addresses) -> str:
    """Return what stands before the path of a URL."""
    server = f"[{addresses.server}]" if ":" in addresses.server else addresses.server
    port = f":{addresses.server_port}" if addresses.server_port is not None else ""
    return f"{addresses.scheme}://{server}{port}"
