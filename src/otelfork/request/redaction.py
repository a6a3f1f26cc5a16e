"""What must not leave the process: secrets in query strings, user names and passwords in URLs, sensitive headers.

It works on text alone and knows nothing of requests or spans.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_plus

from otelfork.settings.http import fold

REDACTED = "REDACTED"
# The look-behind keeps the search linear: without it a long query without `=` is tried again from each character.
_PAIR = re.compile(r"(?:^|(?<=[&;]))([^&;=]*)=([^&;]*)")
# A user's name and password before a host, plain or percent-encoded, as it stands in a `?next=https://...` value.
_USERINFO = re.compile(r"((?:://|%3a%2f%2f|:%2f%2f))((?:(?!%2f|%3f|%23|%40)[^\s/?#&;@])+)(@|%40)", re.IGNORECASE)
_SUBKEY = re.compile(r"[\[\].]+")


def redact_query(query: str, keys: frozenset[str]) -> str:
    """Return the query string with the values of secret keys and the userinfo of URLs in it replaced.

    Args:
        query: as sent, without the `?`.
        keys: folded names (see `settings.http.fold`); `user[password]` and `user.password` count as `password`.
    """
    if "=" in query:
        query = _PAIR.sub(lambda pair: _redact_pair(pair, keys), query)
    if "@" in query or "%40" in query:
        query = redact_userinfo(query)
    return query


def redact_userinfo(text: str) -> str:
    """Return the text with `user:password` before the host of each URL replaced."""
    return _USERINFO.sub(rf"\1{REDACTED}:{REDACTED}\3", text)


def redact_url(url: str, keys: frozenset[str]) -> str:
    """Return a whole URL (a `Referer`, a `Location`) without its userinfo and the secrets of its query."""
    start, mark, query = url.partition("?")
    return redact_userinfo(start) + mark + (redact_query(query, keys) if mark else "")


def _redact_pair(pair: re.Match[str], keys: frozenset[str]) -> str:
    key, value = pair.groups()
    return f"{key}={REDACTED}" if value and _is_secret(key, keys) else pair.group()


@lru_cache(maxsize=1024)
def _is_secret(key: str, keys: frozenset[str]) -> bool:
    # Decoded first: the application reads `pass%77ord` as `password`, so a secret can stand behind it.
    name = unquote_plus(key) if "%" in key or "+" in key else key
    return fold(name.strip()) in keys or any(fold(part) in keys for part in _SUBKEY.split(name) if part)
