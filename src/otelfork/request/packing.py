"""Packs what requests alone were sent as fields of their spans, on the exporter's thread.

What clients send with every request is packed once, and kept as far as there is room. What each request has for itself, a path
with an id, a port, is put together from parts: a cache would be full of them. It knows neither kinds of requests nor spans.
"""

from __future__ import annotations

from typing import Any, final

from otelfork import semconv
from otelfork.encoding import wire
from otelfork.encoding.encoder import Encoder
from otelfork.encoding.fields import LONGEST, Heads, Made, keep
from otelfork.request import attributes
from otelfork.request.addresses import client_address
from otelfork.request.facts import Sent, decoded, port_number, text
from otelfork.request.naming import Names
from otelfork.settings.http import HttpSettings

_PORT = [wire.number_head(wire.key_start(semconv.NETWORK_PEER_PORT), length) for length in range(4)]
"""What stands before a port, by its length as a varint."""


@final
class Packing:
    """The fields of what requests were sent to one middleware.

    Attributes:
        path_heads: what stands before a path that is ASCII, by its length.
        paths: of any other path.
        queries: of a query, as sent.
        clients: of (user agent, peer, X-Forwarded-For, Forwarded): the client, the peer and the user agent.
        ports: of a peer's port, as the server gives it.
        targets: what the second set of names says of a path.
    """

    __slots__ = (
        "_encoder", "_heads", "_names", "_settings", "clients", "path_heads", "paths", "ports", "queries", "targets",
    )  # fmt: skip

    def __init__(self, settings: HttpSettings, names: Names | None) -> None:
        self._encoder = Encoder()
        self._settings = settings
        self._names = names
        keys = semconv.CLIENT_ADDRESS, semconv.NETWORK_PEER_ADDRESS, semconv.USER_AGENT_ORIGINAL
        self._heads = tuple(map(Heads, keys))
        self.path_heads = path_heads = Heads(semconv.URL_PATH)
        self.paths = Made(lambda path: path_heads.field(text(decoded(path))))
        query_heads = Heads(semconv.URL_QUERY)
        self.queries = Made(lambda query: query_heads.field(attributes.query(decoded(query), settings)))
        # Three attributes of as many headers.
        self.clients = Made(self._client, longest=3 * LONGEST)
        self.ports = _Ports()
        self.targets = Made(self._target)

    def _client(self, given: tuple[Sent, str, Sent, str]) -> bytes:
        sent_agent, peer, sent_for, forwarded = given
        agent, forwarded_for = decoded(sent_agent), decoded(sent_for)
        sent = client_address(peer, forwarded, forwarded_for, self._settings), peer, agent
        return b"".join([heads.field(text(value)) for heads, value in zip(self._heads, sent, strict=True) if value])

    def _target(self, path: Sent) -> bytes:
        path_alone = {semconv.URL_PATH: text(decoded(path))}
        named: dict[str, Any] = path_alone if self._names is None else self._names.named(path_alone)
        return self._encoder.joined({key: value for key, value in named.items() if key not in path_alone})


@final
class _Ports(dict[Any, bytes]):
    """A number more for each connection: what is not kept has to be cheap."""

    __slots__ = ()

    def __missing__(self, given: object) -> bytes:
        number = port_number(given)
        if number is None:
            return b""
        packed = wire.varint(number)
        field = _PORT[len(packed)] + packed
        keep(self, given, field)
        return field
