"""What the HTTP middlewares record, hide and add: frozen facts from the environment and keyword arguments.

It knows names and values only; what they do to a request stands in `attributes`, `addresses`, `redaction` and `exchange`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from otelfork.settings.environment import Environment, SettingsError

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

REDACTED_KEYS = (
    # the conventions' list (http-spans.md, `url.query`)
    "AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature",
    "X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-Signature",
    # what applications, OAuth and OpenID put into query strings
    "access_key", "access_token", "api_key", "assertion", "auth", "auth_token", "authorization", "bearer",
    "client_assertion", "client_secret", "code", "code_verifier", "credential", "credentials", "csrf_token", "id_token",
    "jwt", "otp", "pass", "passcode", "passphrase", "passwd", "password", "pin", "private_key", "pwd", "refresh_token",
    "secret", "secret_key", "session", "session_id", "session_token", "shared_secret", "sid", "ticket", "token",
    "jsessionid", "phpsessid", "x_api_key",
)  # fmt: skip
"""Query keys whose values are never exported. Case, `-`, `_` and `.` do not matter."""

SANITIZED_HEADERS = (
    "authorization", "proxy-authorization", "cookie", "set-cookie", ".*api-?key.*", ".*token.*", ".*secret.*",
    ".*password.*", ".*session.*", ".*signature.*",
)  # fmt: skip
"""Captured headers whose values are never exported, as regular expressions; the standard variable adds to them."""

_ENV_REQUEST_HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST"
_ENV_RESPONSE_HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE"
_ENV_SANITIZE = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"
_ENV_EXCLUDED = ("OTEL_INSTRUMENTATION_HTTP_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS")
_ENV_METHODS = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"
_ENV_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
_ENV_PROXIES = "OTELFORK_TRUSTED_PROXIES"
_ENV_REDACT = "OTELFORK_REDACT_QUERY"
_ENV_REDACT_MORE = "OTELFORK_REDACT_QUERY_EXTRA"
_ENV_TRACE_ID_HEADER = "OTELFORK_TRACE_ID_HEADER"
_ENV_CARDINALITY = "OTELFORK_METRIC_CARDINALITY_LIMIT"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ExcludeList(Protocol):
    """A list of contrib's (`opentelemetry.util.http.ExcludeList`)."""

    def url_disabled(self, url: str) -> bool:
        """Tell whether a URL is on it."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A list of contrib's, asked like a pattern."""

    listed: ExcludeList

    def search(self, url: str) -> bool:
        """Tell whether the URL is on the list."""
        return self.listed.url_disabled(url)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What one middleware needs to know about HTTP. `HttpSettings()` holds the defaults."""

    excluded: re.Pattern[str] | Excluded | None = None
    """Searched in the full URL; a request that matches gets neither span nor metrics."""
    known_methods: frozenset[str] | None = None
    """The methods that are not `_OTHER`; None for the conventions' own list."""
    request_headers: re.Pattern[str] | None = None
    """Names of request headers that become span attributes."""
    response_headers: re.Pattern[str] | None = None
    sanitized_headers: re.Pattern[str] = field(default_factory=lambda: _headers(SANITIZED_HEADERS, _ENV_SANITIZE))
    redacted_keys: frozenset[str] = field(default_factory=lambda: _folded(REDACTED_KEYS))
    """Query keys to redact, folded: lower case, without `-`, `_` and `.`."""
    trust: tuple[Network, ...] | None = None
    """Whose forwarding headers count: None trusts everyone (the conventions' default), an empty tuple no one."""
    trust_unix: bool = True
    """Whether a peer without an address (a unix socket) is one of the trusted proxies."""
    old_names: bool = False
    """`http/dup`: the names before 1.21 are given as well."""
    traceresponse: bool = False
    """Whether the response carries `traceresponse` (W3C trace context level 2)."""
    server_timing: bool = False
    """Whether the response carries `server-timing: traceparent;desc="..."`."""
    trace_id_header: str = ""
    """Name of a response header with the trace id as 32 hexadecimal digits; empty for none."""
    cardinality_limit: int = 2000
    """Attribute sets per instrument, the overflow set included (metrics SDK specification, "Cardinality limits")."""

    @property
    def answers(self) -> bool:
        """Tell whether anything is added to the response."""
        return self.traceresponse or self.server_timing or bool(self.trace_id_header)

    @classmethod
    def load(
        cls,
        environment: Environment | None = None,
        *,
        excluded_urls: str | Iterable[str] | ExcludeList | None = None,
        http_capture_headers_server_request: Iterable[str] | None = None,
        http_capture_headers_server_response: Iterable[str] | None = None,
        http_capture_headers_sanitize_fields: Iterable[str] | None = None,
        known_methods: Iterable[str] | None = None,
        redact_query: Iterable[str] | None = None,
        redact_query_extra: Iterable[str] | None = None,
        trusted_proxies: str | Iterable[str] | None = None,
        traceresponse: bool | None = None,
        server_timing: bool | None = None,
        trace_id_header: str | None = None,
        cardinality_limit: int | None = None,
    ) -> HttpSettings:
        """Read the environment; an argument that is not None wins over its variable.

        Args:
            environment: where to read; the process's own by default.
            excluded_urls: regular expressions, comma-separated or one by one, searched in the full URL; or contrib's
                `ExcludeList`.
            http_capture_headers_server_request: names or regular expressions of request headers to record.
            http_capture_headers_server_response: the same for response headers.
            http_capture_headers_sanitize_fields: names whose values are hidden, added to our own list.
            known_methods: the methods that are not `_OTHER`, replacing the conventions' list.
            redact_query: query keys to redact, replacing our list.
            redact_query_extra: query keys to redact as well.
            trusted_proxies: `all`, `none`, or addresses and networks (`unix` for a unix socket) whose headers count.
            traceresponse: add the `traceresponse` header to responses.
            server_timing: add a `traceparent` entry of `server-timing` to responses.
            trace_id_header: the name of a response header that holds the trace id.
            cardinality_limit: attribute sets per metric.

        Raises:
            SettingsError: a value cannot be used; the message names it and says what was expected.
        """
        env = environment if environment is not None else Environment()
        redacted = _chosen(redact_query, env, _ENV_REDACT, default=REDACTED_KEYS)
        if tuple(redacted) == ("none",):
            redacted = ()
        sanitized = _chosen(http_capture_headers_sanitize_fields, env, _ENV_SANITIZE)
        _pattern(sanitized, _ENV_SANITIZE)  # by itself first: a mistake in it must not be told of our own list
        trust, trust_unix = _trust(_chosen(trusted_proxies, env, _ENV_PROXIES, default=("all",)))
        header = env.text(_ENV_TRACE_ID_HEADER) if trace_id_header is None else trace_id_header
        if header and not _HEADER_NAME.fullmatch(header):
            raise SettingsError(_ENV_TRACE_ID_HEADER, header, "the name of a header")
        return cls(
            excluded=_excluded(excluded_urls, env),
            known_methods=frozenset(_chosen(known_methods, env, _ENV_METHODS)) or None,
            request_headers=_captured(http_capture_headers_server_request, env, _ENV_REQUEST_HEADERS),
            response_headers=_captured(http_capture_headers_server_response, env, _ENV_RESPONSE_HEADERS),
            sanitized_headers=_headers((*SANITIZED_HEADERS, *sanitized), _ENV_SANITIZE),
            redacted_keys=_folded((*redacted, *_chosen(redact_query_extra, env, _ENV_REDACT_MORE))),
            trust=trust,
            trust_unix=trust_unix,
            old_names=_old_names(env),
            traceresponse=_flag(traceresponse, env, "OTELFORK_TRACERESPONSE"),
            server_timing=_flag(server_timing, env, "OTELFORK_SERVER_TIMING"),
            trace_id_header=header,
            cardinality_limit=_limit(cardinality_limit, env),
        )


def _excluded(given: str | Iterable[str] | ExcludeList | None, env: Environment) -> re.Pattern[str] | Excluded | None:
    if given is None or isinstance(given, str | Iterable):
        return _pattern(_chosen(given, env, *_ENV_EXCLUDED), _ENV_EXCLUDED[-1])
    if not hasattr(given, "url_disabled"):
        raise SettingsError("excluded_urls", given, "regular expressions")
    return Excluded(given)


def _chosen(
    given: str | Iterable[str] | None,
    env: Environment,
    *names: str,
    default: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Return the argument if there is one, else the first variable that is set, as a list."""
    if given is None:
        return env.names(*names, default=default)
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip() for part in parts if part.strip())


def _flag(given: bool | None, env: Environment, name: str) -> bool:
    return env.boolean(name) if given is None else given


def _limit(given: int | None, env: Environment) -> int:
    if given is None:
        return env.integer(_ENV_CARDINALITY, 2000, minimum=2)
    if given < 2:
        raise SettingsError("cardinality_limit", given, "a whole number of at least 2")
    return given


def _pattern(expressions: tuple[str, ...], name: str, flags: int = 0) -> re.Pattern[str] | None:
    if not expressions:
        return None
    try:
        return re.compile("|".join(f"(?:{expression})" for expression in expressions), flags)
    except re.error as error:
        raise SettingsError(name, ",".join(expressions), f"regular expressions ({error})") from None


def _captured(given: Iterable[str] | None, env: Environment, name: str) -> re.Pattern[str] | None:
    return _pattern(_chosen(given, env, name), name, re.IGNORECASE)


def _headers(names: tuple[str, ...], variable: str) -> re.Pattern[str]:
    return _pattern(names, variable, re.IGNORECASE) or re.compile(r"(?!)")


def _folded(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(fold(key) for key in keys)


def fold(key: str) -> str:
    """Return a query key in the form that redaction compares."""
    return key.lower().replace("_", "").replace("-", "").replace(".", "")


def _old_names(env: Environment) -> bool:
    """Tell whether the old names are wanted too. An unknown category is for another instrumentation, not an error."""
    chosen = env.names(_ENV_OPT_IN)
    return "http/dup" in chosen


def _trust(proxies: tuple[str, ...]) -> tuple[tuple[Network, ...] | None, bool]:
    if proxies == ("all",):
        return None, True
    if proxies == ("none",):
        return (), False
    networks: list[Network] = []
    for proxy in proxies:
        if proxy == "unix":
            continue
        try:
            networks.append(ipaddress.ip_network(proxy, strict=False))
        except ValueError:
            expected = "all, none, or a list of addresses and networks (`unix` for a unix socket)"
            raise SettingsError(_ENV_PROXIES, proxy, expected) from None
    return tuple(networks), "unix" in proxies
