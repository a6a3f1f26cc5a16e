"""Maps what an exporter says when it fails to the setting that is probably wrong.

The texts are those of requests, urllib3, OpenSSL and gRPC as the standard exporters log them; a text that is not known is no
advice, and the complaint then quotes it as it is. It must not know who exports what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OTLP, _JAEGER, _ZIPKIN = "OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_JAEGER", "OTEL_EXPORTER_ZIPKIN"


@dataclass(frozen=True, slots=True)
class Advice:
    """What is wrong, and the setting to change. `sure`: one failed try is enough, waiting will not help."""

    what: str
    change: str
    sure: bool = True


_Case = tuple[re.Pattern[str], Advice]


def _case(pattern: str, what: str, change: str, *, sure: bool = True) -> _Case:
    return re.compile(pattern, re.IGNORECASE), Advice(what, change, sure)


_GRPC_TO_HTTP = _case(
    r"failed parsing http/2|expected settings frame|http1\.x server|received http2 header with status: (400|404|415)"
    r"|missing selected alpn|no.application.protocol",
    "the endpoint speaks HTTP/1 and OTEL_EXPORTER_OTLP_PROTOCOL is grpc",
    "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or the collector's gRPC port (4317 as a rule) in {prefix}_ENDPOINT",
)
_HTTP_TO_GRPC = _case(
    r"badstatusline\(['\"]\\x00",
    "the endpoint speaks gRPC and OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf",
    "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or the collector's HTTP port (4318 as a rule) in {prefix}_ENDPOINT",
)
_HTTPS_TO_GRPC = _case(
    r"ssleoferror|eof occurred in violation",
    "the endpoint ends the connection without an answer",
    "if its port is gRPC's, set OTEL_EXPORTER_OTLP_PROTOCOL=grpc; if it asks for a certificate of ours, {client}",
    sure=False,
)
_COMMON = (
    _case(
        r"wrong.version.number|packet length too long|record layer failure|unknown protocol",
        "the endpoint's port speaks no TLS",
        "write http:// in {prefix}_ENDPOINT{insecure}",
    ),
    _case(
        # Go (the collector), nginx, Apache
        r"http request to an https server|plain http request was sent to https|plain http to an ssl",
        "the endpoint's port speaks TLS",
        "write https:// in {prefix}_ENDPOINT",
    ),
    _case(
        r"certificate.required|alert.bad.certificate|alert.handshake.failure",
        "the collector asks for a certificate of ours, and does not take what it gets",
        "{client}",
    ),
    _case(
        r"certificate.verify.failed|self.signed certificate|unable to get local issuer",
        "the collector's certificate is not trusted",
        "name its authority's file in {authority}",
    ),
    _case(
        r"\b401\b|\b403\b|unauthenticated|permission.denied",
        "the collector refuses who we are",
        "set or correct {credentials}",
    ),
    _case(
        r"\b404\b|unimplemented",
        "the collector does not take this signal at this address",
        "correct {prefix}_ENDPOINT (/v1/traces and the like are added to it, but not to OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)",
    ),
    _case(
        r"no connection adapters|invalid ?url|invalid ?schema",
        "the endpoint is no address",
        "write http:// or https:// in front of it in {prefix}_ENDPOINT",
    ),
    _case(
        r"failed to resolve|name ?resolution|domain name not found|errors resolving|dns resolution failed|name or service",
        "the host of the endpoint has no address here",
        "correct the name in {prefix}_ENDPOINT",
        sure=False,
    ),
    _case(
        r"connection refused",
        "nothing listens at the endpoint",
        "start the collector, or correct {prefix}_ENDPOINT",
        sure=False,
    ),
    _case(
        r"socket closed|remotedisconnected|connection reset|connection aborted|eof occurred|unexpected.eof",
        "the endpoint closes the connection without an answer",
        "if its port speaks TLS, write https:// in {prefix}_ENDPOINT{other}; if it asks for a certificate of ours, {client}",
        sure=False,
    ),
    _case(
        r"no route to host|network is unreachable|timed? ?out|timeout|deadline.exceeded",
        "the endpoint does not answer",
        "check the address in {prefix}_ENDPOINT and what lies between, or give it more time in {prefix}_TIMEOUT",
        sure=False,
    ),
)


_WORDS = {
    _OTLP: {
        "credentials": "OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20<token>",
        "authority": "OTEL_EXPORTER_OTLP_CERTIFICATE (OTEL_EXPORTER_OTLP_INSECURE does not switch the check off)",
        "client": "name it and its key in OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY",
    },
    _JAEGER: {
        "credentials": "OTEL_EXPORTER_JAEGER_USER and OTEL_EXPORTER_JAEGER_PASSWORD",
        "authority": "OTEL_EXPORTER_JAEGER_CERTIFICATE",
        "client": "put something in front of it that does not: there is no setting for one",
    },
    _ZIPKIN: {
        "credentials": "the address in OTEL_EXPORTER_ZIPKIN_ENDPOINT, which may hold a user and password",
        "authority": "REQUESTS_CA_BUNDLE",
        "client": "put something in front of it that does not: there is no setting for one",
    },
}


def advise(exporter: object, message: str) -> Advice | None:
    """Return the advice for what this exporter said, or None."""
    modules = " ".join(kind.__module__ for kind in type(exporter).__mro__)
    prefix = _JAEGER if "jaeger" in modules else _ZIPKIN if "zipkin" in modules else _OTLP
    grpc = ".grpc" in modules
    own = () if prefix != _OTLP else (_GRPC_TO_HTTP,) if grpc else (_HTTP_TO_GRPC, _HTTPS_TO_GRPC)
    insecure = ", and OTEL_EXPORTER_OTLP_INSECURE=true or nothing" if grpc else ""
    other = "; if it is gRPC's, set OTEL_EXPORTER_OTLP_PROTOCOL=grpc" if prefix == _OTLP and not grpc else ""
    words = {"prefix": prefix, "insecure": insecure, "other": other, **_WORDS[prefix]}
    for pattern, advice in (*own, *_COMMON):
        if pattern.search(message):
            return Advice(advice.what, advice.change.format_map(words), advice.sure)
    return None
