"""The rule that keeps skips honest."""

from __future__ import annotations

from tests.conftest import SKIPS, allowed_skips, forbidden_skips


def test_a_skip_outside_the_list_is_forbidden():
    """Only a test whose id matches a pattern of the list may be skipped."""
    patterns = allowed_skips("# a comment\n\ntests/a.py::* | no wheel\n")
    assert forbidden_skips(iter(["tests/a.py::test_y[1]", "tests/b.py::test_x"]), patterns) == ["tests/b.py::test_x"]


def test_each_line_of_the_list_gives_its_reason():
    """Whoever adds a pattern says why."""
    lines = [line for line in SKIPS.read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not line.partition("|")[2].strip()] == []
