"""Excluded URLs known by their path."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from otelfork.request.exclusion import Exclusion
from otelfork.settings.http import HttpSettings

PATTERNS = st.sampled_from(
    [
        "/health",
        "health|/ready",
        "^http",
        "items$",
        r"/items/\d+",
        r"\bitems\b",
        "(?i)HEALTH",
        "(?<=a)/b",
        "/a.*b",
        "[^/]x",
        "/b(?=/)",
    ]
)
PATHS = st.sampled_from(["/health", "/items/7", "/items", "/a/b", "/a/c/b", "/HEALTH", "/", "/b/", "/sp%20ace", "/xx"])


@given(PATTERNS, PATHS, st.sampled_from(["", "?page=2", "?items"]))
def test_a_path_that_is_enough_says_what_the_whole_url_does(pattern: str, path: str, query: str) -> None:
    """Whatever is excluded by its path is excluded by its URL, for text and for bytes, asked once or again."""
    exclusion = Exclusion(re.compile(f"(?:{pattern})") if not pattern.startswith("(?i)") else re.compile(pattern))
    told = {exclusion.by_path(path), exclusion.by_path(path), exclusion.by_path(path.encode())}
    excluded = exclusion.search(f"http://shop.example{path}{query}") is not None
    assert told in ({True}, {False})
    assert excluded or told == {False}


def test_usual_patterns_are_known_by_their_path() -> None:
    """What people exclude, health checks by their paths, needs no look at the rest of the request."""
    settings = HttpSettings.load(excluded_urls="health,/ready$,^http://internal")
    assert settings.excluded is not None
    exclusion = Exclusion(settings.excluded)
    assert False is exclusion.by_path("/health")  # one pattern that looks elsewhere, and the URL is searched
    settings = HttpSettings.load(excluded_urls="/health,/ready,/metrics/.*")
    assert settings.excluded is not None
    exclusion = Exclusion(settings.excluded)
    found = [exclusion.by_path(path) for path in ("/health", "/api/ready", "/metrics/a", "/items")]
    assert [True, True, True, False] == found


def test_paths_that_clients_invent_are_not_kept_without_bound() -> None:
    """Many paths, or long ones, leave little behind."""
    exclusion = Exclusion(re.compile("/health"))
    for number in range(5000):
        exclusion.by_path(f"/items/{number}")
    exclusion.by_path("/" + "x" * 5000)
    assert 512 >= len(exclusion._paths)
    assert max(map(len, exclusion._paths)) <= 256
