"""Tells what requests alone were sent as attributes of their spans: for tracers that want them at the start, and for who looks.

What clients send with every request is told once, and kept as far as there is room. It knows neither kinds of requests nor spans;
`packing` does the same for the exporter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from otelfork import semconv
from otelfork.encoding.fields import LONGEST, keep
from otelfork.request import attributes
from otelfork.request.addresses import client_address
from otelfork.request.facts import Sketch, port_number, read, text
from otelfork.settings.http import HttpSettings


@final
class Telling:
    """The attributes of what requests were sent to one middleware."""

    __slots__ = ("_clients", "_queries", "_settings")

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._queries: dict[str, str] = {}
        self._clients: dict[tuple[str, str, str, str], Mapping[str, str]] = {}

    def attributes(self, common: Mapping[str, Any], sketch: Sketch, forwarded: str) -> dict[str, Any]:
        """Return what `attributes.of_request` does where no name is mapped, sooner.

        Args:
            common: what `attributes.common` made of the request's kind.
            sketch: what the request alone was sent.
            forwarded: the header of that name.
        """
        path, query, agent, peer, port, forwarded_for, headers = read(sketch)
        found = {**common, semconv.URL_PATH: text(path)}
        if query:
            found[semconv.URL_QUERY] = self._queries.get(query) or self._query(query)
        client = (agent, peer, forwarded_for, forwarded)
        found.update(self._clients.get(client) or self._client(client))
        if peer and port is not None:
            number = port_number(port)
            if number is not None:
                found[semconv.NETWORK_PEER_PORT] = number
        if headers:
            for name, values in headers.items():
                found[semconv.REQUEST_HEADER + name] = tuple(values)
        return found

    def _query(self, query: str) -> str:
        told = attributes.query(query, self._settings)
        if len(query) <= LONGEST:
            keep(self._queries, query, told)
        return told

    def _client(self, given: tuple[str, str, str, str]) -> Mapping[str, str]:
        agent, peer, forwarded_for, forwarded = given
        client = client_address(peer, forwarded, forwarded_for, self._settings)
        keys = semconv.CLIENT_ADDRESS, semconv.NETWORK_PEER_ADDRESS, semconv.USER_AGENT_ORIGINAL
        told = {key: text(value) for key, value in zip(keys, (client, peer, agent), strict=True) if value}
        if sum(map(len, given)) <= 3 * LONGEST:
            keep(self._clients, given, told)
        return told
