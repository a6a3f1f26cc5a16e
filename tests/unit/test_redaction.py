"""What must not leave the process."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelfork.request.redaction import redact_query, redact_url
from otelfork.settings.http import REDACTED_KEYS, HttpSettings

KEYS = HttpSettings().redacted_keys


@pytest.mark.parametrize(
    "key", [*REDACTED_KEYS, "TOKEN", "api-key", "apiKey", "user[password]", "auth.token", "pass%77ord"]
)
def test_a_secret_s_value_is_replaced(key: str) -> None:
    """Each key of the list is redacted in any case and spelling, encoded and nested too; the rest stays as sent."""
    assert redact_query(f"a=1&{key}=s3cret&b=%20", KEYS) == f"a=1&{key}=REDACTED&b=%20"


@pytest.mark.parametrize(
    "query",
    ["", "a", "a=", "a=1", "a=1&b=2;c=3", "token", "token=", "tokens=1", "&&=;=", "x=token", "%zz=%", "next=/a?b"],
)
def test_everything_else_stays_as_sent(query: str) -> None:
    """A query without secrets is not changed by a character."""
    assert query == redact_query(query, KEYS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1;token=x;b=2", "a=1;token=REDACTED;b=2"),
        ("token=x&token=y", "token=REDACTED&token=REDACTED"),
        ("token=a=b=c&d=1", "token=REDACTED&d=1"),
        ("next=https://me:pw@x/", "next=https://REDACTED:REDACTED@x/"),
        ("next=https%3A%2F%2Fme%3Apw%40x%2F", "next=https%3A%2F%2FREDACTED:REDACTED%40x%2F"),
        ("mail=me@example.org", "mail=me@example.org"),
    ],
)
def test_forms_of_a_query(query: str, expected: str) -> None:
    """Both separators, repetitions, `=` in values, and URLs with userinfo as values."""
    assert expected == redact_query(query, KEYS)


def test_a_whole_url_loses_its_userinfo_and_its_secrets() -> None:
    """A captured Referer or Location is treated like the request's own URL."""
    expected = "https://REDACTED:REDACTED@shop.example/a?code=REDACTED&b=1"
    assert expected == redact_url("https://me:pw@shop.example/a?code=x&b=1", KEYS)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "query", ["a" * 200_000, "&" + "=" * 200_000, "://" * 60_000, "x=" + "%40" * 60_000, "a=" * 90_000]
)
def test_a_long_query_is_read_in_linear_time(query: str) -> None:
    """No query keeps a worker busy: one that were tried again from each character would outlast the deadline."""
    assert query == redact_query(query, KEYS)


@given(
    before=st.text(alphabet="ab&=;%+[]", max_size=20),
    key=st.sampled_from(REDACTED_KEYS),
    secret=st.text(alphabet=st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20).map(
        lambda s: quote(s, "")
    ),
)
def test_no_secret_survives(before: str, key: str, secret: str) -> None:
    """Whatever stands before it, the value of a secret key is gone."""
    marked = "q7" + secret
    assert marked not in redact_query(f"{before}&{key}={marked}", KEYS)
