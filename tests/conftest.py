"""What every test run obeys: a skip is allowed only by the list in `tests/skips.txt`, and all skips are counted."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing on a shared machine; the test's own deadline is enough.
settings.register_profile("otelfork", deadline=None)
settings.load_profile("otelfork")

SKIPS = Path(__file__).with_name("skips.txt")
_FORBIDDEN: pytest.StashKey[list[str]] = pytest.StashKey()


def allowed_skips(text: str) -> list[str]:
    """Return the patterns of test ids in a skip list: one a line, `pattern | reason`, `#` begins a comment line."""
    lines = (line.strip() for line in text.splitlines())
    return [line.partition("|")[0].strip() for line in lines if line and not line.startswith("#")]


def forbidden_skips(skipped: Iterator[str], patterns: list[str]) -> list[str]:
    """Return the skipped test ids that no pattern allows."""
    return [test for test in skipped if not any(fnmatchcase(test, pattern) for pattern in patterns)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail a run that skipped what the list does not name; in a run of pytest-xdist the controller decides."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        skipped = (report.nodeid for report in reporter.stats.get("skipped", []))
        forbidden = forbidden_skips(skipped, allowed_skips(SKIPS.read_text(encoding="utf-8")))
        session.config.stash[_FORBIDDEN] = forbidden
        if forbidden and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the number of skips, and each one that the list does not allow."""
    forbidden = config.stash.get(_FORBIDDEN, [])
    skips = len(terminalreporter.stats.get("skipped", []))
    terminalreporter.write_line(f"skips: {skips}, of which not allowed by tests/skips.txt: {len(forbidden)}")
    for test in forbidden:
        terminalreporter.write_line(f"NOT ALLOWED TO SKIP: {test}", red=True)
