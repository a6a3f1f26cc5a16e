"""HttpSettings: environment and arguments, and what is said of a bad value."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.util.http import ExcludeList

from otelfork.settings import SettingsError
from otelfork.settings.environment import Environment
from otelfork.settings.http import HttpSettings


def load(*, env: dict[str, str] | None = None, **options: Any) -> HttpSettings:
    return HttpSettings.load(Environment(env or {}), **options)


def test_nothing_set_gives_the_defaults() -> None:
    """An empty environment and no arguments are the dataclass's own defaults."""
    assert load() == HttpSettings()


@pytest.mark.parametrize(
    ("variable", "value", "option"),
    [
        ("OTEL_PYTHON_EXCLUDED_URLS", "a,b", {"excluded_urls": "a,b"}),
        ("OTEL_INSTRUMENTATION_HTTP_EXCLUDED_URLS", "a,b", {"excluded_urls": ["a", "b"]}),
        ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET,BREW", {"known_methods": ["GET", "BREW"]}),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "x-a", {"http_capture_headers_server_request": ["x-a"]}),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE", "b", {"http_capture_headers_server_response": ["b"]}),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS", "c", {"http_capture_headers_sanitize_fields": ["c"]}),
        ("OTELFORK_REDACT_QUERY", "pet", {"redact_query": ["pet"]}),
        ("OTELFORK_REDACT_QUERY", "none", {"redact_query": ["none"]}),
        ("OTELFORK_REDACT_QUERY_EXTRA", "pet", {"redact_query_extra": ["pet"]}),
        ("OTELFORK_TRUSTED_PROXIES", "10.0.0.0/8,unix", {"trusted_proxies": ["10.0.0.0/8", "unix"]}),
        ("OTELFORK_TRUSTED_PROXIES", "none", {"trusted_proxies": "none"}),
        ("OTELFORK_TRACERESPONSE", "true", {"traceresponse": True}),
        ("OTELFORK_SERVER_TIMING", "1", {"server_timing": True}),
        ("OTELFORK_TRACE_ID_HEADER", "otel-trace-id", {"trace_id_header": "otel-trace-id"}),
        ("OTELFORK_METRIC_CARDINALITY_LIMIT", "10", {"cardinality_limit": 10}),
    ],
)  # fmt: skip
def test_each_option_has_a_variable(variable: str, value: str, option: dict[str, Any]) -> None:
    """What an argument can say a variable can say too, and neither is without effect."""
    assert load(env={variable: value}) == load(**option) != load()


def test_an_argument_wins_over_its_variable() -> None:
    """Code that names a value means it."""
    settings = load(env={"OTEL_PYTHON_EXCLUDED_URLS": "a"}, excluded_urls="b")
    expected = "(?:b)"
    assert expected == (settings.excluded and settings.excluded.pattern)


def test_contrib_s_list_of_excluded_urls_is_taken() -> None:
    """Who comes from contrib has an `ExcludeList` perhaps: it decides as it did there."""
    excluded = load(excluded_urls=ExcludeList(["health$"])).excluded
    assert [True, False] == [bool(excluded.search(url)) for url in ("http://shop/health", "http://shop/healthy")]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_PYTHON_EXCLUDED_URLS", "("),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "["),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS", "*"),
        ("OTELFORK_TRUSTED_PROXIES", "nobody"),
        ("OTELFORK_TRACERESPONSE", "maybe"),
        ("OTELFORK_TRACE_ID_HEADER", "a b"),
        ("OTELFORK_METRIC_CARDINALITY_LIMIT", "1"),
    ],
)
def test_a_bad_value_is_named(variable: str, value: str) -> None:
    """The error names the variable and the value."""
    with pytest.raises(SettingsError, match=variable) as caught:
        load(env={variable: value})
    assert value == caught.value.value
