"""The names, values and bucket boundaries of the OpenTelemetry HTTP semantic conventions that this package uses.

Constants of our own, so that a request pays no import of the conventions package and no rename in it reaches us unseen.
Source: semantic-conventions 1.44, `docs/http/http-spans.md` and `docs/http/http-metrics.md`; the stable part is that of 1.23.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

CLIENT_ADDRESS: Final = "client.address"
ERROR_TYPE: Final = "error.type"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
NETWORK_PEER_ADDRESS: Final = "network.peer.address"
NETWORK_PEER_PORT: Final = "network.peer.port"
NETWORK_PROTOCOL_NAME: Final = "network.protocol.name"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
URL_PATH: Final = "url.path"
URL_QUERY: Final = "url.query"
URL_SCHEME: Final = "url.scheme"
USER_AGENT_ORIGINAL: Final = "user_agent.original"
METRIC_OVERFLOW: Final = "otel.metric.overflow"
"""The attribute of the one point that takes what is over the cardinality limit (metrics SDK specification)."""

REQUEST_HEADER: Final = "http.request.header."
RESPONSE_HEADER: Final = "http.response.header."

WEBSOCKET_MESSAGES_RECEIVED: Final = "websocket.messages.received"
WEBSOCKET_MESSAGES_SENT: Final = "websocket.messages.sent"
WEBSOCKET_CLOSE_CODE: Final = "websocket.close.code"

OTHER_METHOD: Final = "_OTHER"
UNKNOWN_METHOD_NAME: Final = "HTTP"
"""What stands for `{method}` in the span name of an unknown method (http-spans.md, "Name")."""

KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"},
)
"""RFC 9110, RFC 5789 (PATCH) and the QUERY method. Methods are case-sensitive."""

PROTOCOL_VERSIONS: Final = {
    "0.9": "0.9",
    "1.0": "1.0",
    "1.1": "1.1",
    "2": "2",
    "2.0": "2",
    "3": "3",
    "3.0": "3",
}
"""What servers say, as the conventions write it. Anything else comes from the request line and is not recorded."""

DURATION_METRIC: Final = "http.server.request.duration"
ACTIVE_REQUESTS_METRIC: Final = "http.server.active_requests"
REQUEST_BODY_SIZE_METRIC: Final = "http.server.request.body.size"
RESPONSE_BODY_SIZE_METRIC: Final = "http.server.response.body.size"

DURATION_BOUNDARIES: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Advised bucket boundaries of `http.server.request.duration`, in seconds."""

BODY_SIZE_BOUNDARIES: Final = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0,
    100_000.0, 1_000_000.0, 10_000_000.0, 100_000_000.0,
)  # fmt: skip
"""The SDK's default boundaries and four decades more: a body of over 10 kB is nothing unusual. In bytes."""
