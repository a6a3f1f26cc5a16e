"""Headers that become span attributes: those that were asked for, with what is sensitive hidden."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otelfork.request.facts import text
from otelfork.request.redaction import REDACTED, redact_url
from otelfork.settings.http import HttpSettings

_URL_HEADERS = frozenset({"referer", "location", "content-location", "origin"})


def capture(headers: Iterable[tuple[str, str]], wanted: Any, settings: HttpSettings) -> dict[str, list[str]]:
    """Return the headers whose names match, by lower-case name, with sensitive values hidden."""
    captured: dict[str, list[str]] = {}
    for name, value in headers:
        if wanted.fullmatch(name):
            lowered = text(name.lower())
            captured.setdefault(lowered, []).append(_shown(lowered, value, settings))
    return captured


def _shown(name: str, value: str, settings: HttpSettings) -> str:
    if settings.sanitized_headers.fullmatch(name):
        return REDACTED
    return text(redact_url(value, settings.redacted_keys) if name in _URL_HEADERS else value)
