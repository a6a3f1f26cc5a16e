"""`otelfork verify` accounts for each request while workers are killed, requests hang and collectors fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from otelfork.cli import main
from otelfork.cli.account import RECOVERED, match
from otelfork.cli.load import Sent
from otelfork.cli.mishaps import Mishaps, busiest_first
from otelfork.receiver import ReceivedSpan, Scope

PROGRAMS = Path(__file__).parents[1] / "programs"
GUNICORN = (sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3", "--chdir", str(PROGRAMS))
URL = "http://127.0.0.1:{port}"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the command over gunicorn with a scoreboard of its own."""
    monkeypatch.setenv("OTELFORK_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("BEGUN", str(tmp_path / "begun"))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "300")

    def run(*options: str, server: tuple[str, ...] = ()) -> Result:
        command = ("--", *GUNICORN, *server, "leaving_wsgi:app")
        return CliRunner().invoke(main, ["verify", "--url", URL, "--path", "/slow", *options, *command])

    return run


def test_a_killed_worker_is_accounted_for(verify):
    """Every worker is busy when one is killed: its request is recovered, and the account says so."""
    result = verify("--kill-one", "--requests", "60")
    assert (0, True, True) == (
        result.exit_code,
        "was killed: 1 requests recovered, 0 unanswered requests without a span" in result.output,
        " recovered 1 lost " in result.output.splitlines()[-1],
    ), result.output


@pytest.mark.slow
def test_a_request_that_hangs_is_accounted_for(verify):
    """gunicorn's timeout ends it; the account names its trace, and the request has a span."""
    result = verify("--timeout-one", "/hold", "--requests", "20", server=("--timeout", "2"))
    assert (0, True) == (result.exit_code, "the request that hung has a span" in result.output), result.output


@pytest.mark.slow
def test_a_slow_collector_loses_nothing(verify):
    """Everything arrives, late."""
    result = verify("--collector", "slow", "--requests", "40")
    assert (0, "sent 40 received 40 lost 0 duplicated 0") == (result.exit_code, result.output.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("collector", ["refusing", "dead"])
def test_without_a_collector_the_server_answers_and_stops(verify, collector: str):
    """Nothing arrives; what counts is that every request was answered and the server stopped by itself."""
    result = verify("--collector", collector, "--requests", "40")
    assert (0, True) == (result.exit_code, "40 of 40 requests answered" in result.output), result.output


@pytest.mark.slow
def test_a_server_without_workers_has_none_to_kill(verify):
    """It is said, with what to do, and the status is that of a server that cannot be driven."""
    traced = ("--", sys.executable, str(PROGRAMS / "traced_server.py"), "{port}")
    result = CliRunner().invoke(main, ["verify", "--url", URL, "--requests", "10", "--kill-one", *traced])
    assert (2, True) == (result.exit_code, "no worker process" in result.stderr), result.output


def test_a_recovered_span_that_came_twice_is_a_repeat_and_no_double():
    """Sending is at least once: the ids are the same, and the request is in no histogram."""
    span = ReceivedSpan(
        *("a" * 32, "b" * 16, "c" * 16, "GET", "SERVER", 1, 2, {RECOVERED: True}, (), (), "ERROR", "", "", 1, 0, 0, 0),
        resource={},
        scope=Scope("otelfork", "", "", {}),
        batch=1,
    )
    found = match([Sent("a" * 32, "c" * 16, "http://server/", None, "reset", 0.1)], [span, span], [])
    assert (1, 1, 0, ("b" * 16,), 0) == (
        found.received,
        found.recovered,
        found.duplicated,
        found.repeated_span_ids,
        found.histogram_expected,
    )


def test_no_process_is_no_worker():
    """Where nothing can be killed nothing is chosen; a pid that is gone is none."""
    assert ([], []) == (busiest_first([]), busiest_first([2**22 + 1]))


def test_an_unknown_collector_is_refused():
    """The message names what there is."""
    with pytest.raises(ValueError, match="expected one of good, slow, refusing, dead"):
        Mishaps(collector="sleepy")
