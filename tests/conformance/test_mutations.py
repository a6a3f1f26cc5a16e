"""A test that cannot fail shows nothing: with a part of otelfork turned off, its rows have to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.mutations import BROKEN, CONTROL, HOOK_OFF, MUTATIONS, Broken, Mutation
from tests.conformance.rows import ROWS, Row
from tests.conformance.serving import ROOT, serve
from tests.conformance.statement import account, expected
from tests.conformance.test_masters import QUIET_CHILD
from tests.conformance.test_servers import run

from otelfork.receiver import HTTP, Receiver

ROW_BY_NAME = {row.name: row for row in ROWS}
MUTATE = str(ROOT / "tests/programs/mutate")


def failure(row: Row, mutation: Mutation, receiver: Receiver, requests: int, folder: Path) -> str:
    """Run a row under a mutation; return in a few words how its statement fails, or "" where it holds."""
    environment = {**receiver.environment(HTTP), "OTELFORK_TEST_MUTATION": mutation.name}
    with serve(row, environment, folder, requests, python_path=(MUTATE,)) as server:
        try:
            sent = run(server, row, requests)
        except AssertionError as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        assert f"mutation {mutation.name} in process" in server.output
    receiver.wait_until_quiet()
    found = account(sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter)
    actual = found.as_dict()
    wrong = {name: value for name, value in expected(sent).items() if actual[name] != value}
    return ", ".join(f"{name} {actual[name]} instead of {value}" for name, value in wrong.items())


def cases(*mutations: Mutation) -> list[object]:
    """Return each mutation with each of its rows."""
    return [
        pytest.param(mutation, ROW_BY_NAME[name], id=f"{mutation.name}-{name}")
        for mutation in mutations
        for name in mutation.rows
    ]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("mutation", "row"), cases(*MUTATIONS))
def test_a_row_fails_when_a_part_is_turned_off(
    mutation: Mutation,
    row: Row,
    receiver: Receiver,
    requests: int,
    tmp_path: Path,
    write_result: Callable[[dict[str, object]], None],
):
    """The statement notices the missing part."""
    outcome = failure(row, mutation, receiver, requests, tmp_path)
    write_result({"row": row.name, "mutation": mutation.name, "turns_off": mutation.turns_off, "outcome": outcome})
    assert outcome


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_quiet_child_keeps_the_connections_when_the_hook_is_turned_off(
    receiver: Receiver, tmp_path: Path, write_result: Callable[[dict[str, object]], None]
):
    """The pid check saves every record without the hook, but only the hook closes what a child inherits."""
    environment = {**receiver.environment(HTTP), "OTELFORK_TEST_MUTATION": HOOK_OFF.name}
    with serve(QUIET_CHILD, environment, tmp_path, 1, python_path=(MUTATE,)) as server:
        assert server.wait(30) == 0, server.output
        inherited = [line for line in server.output.splitlines() if line.startswith("child")]
    outcome = f"{inherited[0].split()[1]} inherited connections instead of 0"
    about = {"row": QUIET_CHILD.name, "mutation": HOOK_OFF.name, "turns_off": HOOK_OFF.turns_off}
    write_result({**about, "outcome": outcome})
    assert inherited != ["child 0"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.name}-{broken.test.partition('::')[0]}")
def test_another_test_fails_when_a_part_is_turned_off(
    broken: Broken, write_result: Callable[[dict[str, object]], None]
):
    """Recipes, collector, masters and examples have a mutation each: their own tests, run without a part, fail."""
    path = os.pathsep.join(filter(None, [MUTATE, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow"),
            str(Path(__file__).parent / broken.test),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OTELFORK_TEST_MUTATION": broken.name, "OTELFORK_TEST_REQUESTS": "20"},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    outcome = failed[0][:200] if failed else ""
    write_result({"row": broken.test, "mutation": broken.name, "turns_off": broken.turns_off, "outcome": outcome})
    assert (1, True) == (done.returncode, bool(failed)), done.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("mutation", "row"), cases(CONTROL))
def test_a_row_holds_when_nothing_is_turned_off(
    mutation: Mutation, row: Row, receiver: Receiver, requests: int, tmp_path: Path
):
    """The way the parts are turned off disturbs nothing by itself."""
    assert failure(row, mutation, receiver, requests, tmp_path) == ""
