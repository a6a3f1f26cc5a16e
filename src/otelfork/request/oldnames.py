"""The names before 1.21, for `OTEL_SEMCONV_STABILITY_OPT_IN=http/dup`: mappings over what a finished request has anyway.

Spans get the names of conventions 1.20 and those that contrib's middlewares still use; metrics are contrib's
(opentelemetry-instrumentation-asgi 0.66). Its two middlewares fill some names differently (`http.host` from the header in
one, from the socket in the other): here each is made of the same stable attribute under WSGI and ASGI.
Source: http-migration.md; `opentelemetry.instrumentation._semconv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from opentelemetry.context import Context
from opentelemetry.metrics import Meter

from otelfork import semconv

_SAME = {
    semconv.HTTP_REQUEST_METHOD: ("http.method",),
    semconv.HTTP_RESPONSE_STATUS_CODE: ("http.status_code",),
    semconv.URL_SCHEME: ("http.scheme",),
    semconv.SERVER_ADDRESS: ("net.host.name", "http.server_name"),
    semconv.SERVER_PORT: ("net.host.port",),
    semconv.CLIENT_ADDRESS: ("http.client_ip",),
    semconv.NETWORK_PEER_ADDRESS: ("net.sock.peer.addr", "net.peer.ip"),
    semconv.NETWORK_PEER_PORT: ("net.sock.peer.port", "net.peer.port"),
    semconv.NETWORK_PROTOCOL_NAME: ("net.protocol.name",),
    semconv.NETWORK_PROTOCOL_VERSION: ("http.flavor",),
    semconv.USER_AGENT_ORIGINAL: ("http.user_agent",),
}
_OF_ACTIVE = ("http.method", "http.host", "http.scheme", "http.flavor", "http.server_name")
_OF_DURATION = (*_OF_ACTIVE, "http.status_code", "net.host.name", "net.host.port")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def doubled(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a span's finished attributes with their old names added."""
    both = {**found, **_old(found)}
    if semconv.HTTP_REQUEST_METHOD_ORIGINAL in found:
        both["http.method"] = found[semconv.HTTP_REQUEST_METHOD_ORIGINAL]
    if semconv.URL_PATH in found:
        query = found.get(semconv.URL_QUERY)
        both["http.target"] = f"{found[semconv.URL_PATH]}?{query}" if query else found[semconv.URL_PATH]
        if "http.host" in both:
            both["http.url"] = f"{found.get(semconv.URL_SCHEME, 'http')}://{both['http.host']}{both['http.target']}"
    return both


def of_active(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes of `http.server.active_requests`, old names added: it is one metric in old and new."""
    old = _old(found)
    kept = {name: found[name] for name in (semconv.HTTP_REQUEST_METHOD, semconv.URL_SCHEME) if name in found}
    return {**kept, **{name: old[name] for name in _OF_ACTIVE if name in old}}


def _old(found: Mapping[str, Any]) -> dict[str, Any]:
    old = {name: found[stable] for stable, names in _SAME.items() if stable in found for name in names}
    address, port = found.get(semconv.SERVER_ADDRESS), found.get(semconv.SERVER_PORT)
    if address is not None:
        host = f"[{address}]" if ":" in address else address
        plain = port is None or port == _DEFAULT_PORTS.get(found.get(semconv.URL_SCHEME, ""))
        old["http.host"] = host if plain else f"{host}:{port}"
    return old


@final
class OldMetrics:
    """The histograms that `http/dup` adds: the finished figures of a request under the names before 1.21.

    Args:
        meter: where the instruments are made.
        cardinality_limit: attribute sets of all three together, the overflow set included.
    """

    __slots__ = ("_duration", "_limit", "_received", "_seen", "_sent")

    def __init__(self, meter: Meter, cardinality_limit: int) -> None:
        make = meter.create_histogram
        self._duration = make("http.server.duration", "ms", "Measures the duration of inbound HTTP requests.")
        self._received = make(
            "http.server.request.size", "By", "Measures the size of HTTP request messages (compressed)."
        )
        self._sent = make(
            "http.server.response.size", "By", "Measures the size of HTTP response messages (compressed)."
        )
        self._limit = cardinality_limit
        self._seen: set[tuple[tuple[str, Any], ...]] = set()

    def record(
        self,
        found: Mapping[str, Any],
        seconds: float,
        received: int | None,
        sent: int | None,
        context: Context,
    ) -> None:
        """Record the figures of a finished request; websockets had none.

        Args:
            found: the attributes of its new metrics, with `server.address` and `server.port`.
            seconds: its duration.
            received: bytes of its body; None where they are not measured.
            sent: bytes of the response's body, likewise.
            context: the request's context.
        """
        if semconv.NETWORK_PROTOCOL_NAME in found:
            return
        old = self._bounded(found)
        self._duration.record(seconds * 1000, old, context)
        if received is not None:
            self._received.record(received, old, context)
        if sent is not None:
            self._sent.record(sent, old, context)

    def _bounded(self, found: Mapping[str, Any]) -> dict[str, Any]:
        if semconv.METRIC_OVERFLOW in found:
            return {semconv.METRIC_OVERFLOW: True}
        old = _old(found)
        kept = {name: old[name] for name in _OF_DURATION if name in old}
        if semconv.HTTP_ROUTE in found:
            kept["http.target"] = found[semconv.HTTP_ROUTE]
        key = tuple(kept.items())
        if key not in self._seen:
            if len(self._seen) >= self._limit - 1:
                return {semconv.METRIC_OVERFLOW: True}
            self._seen.add(key)
        return kept
