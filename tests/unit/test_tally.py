"""What a run counts: numbers in its file, exact whoever adds, and alive when all who added are dead."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from otelfork.run.scoreboard import Scoreboard
from otelfork.run.tally import Tally

RUN = "0" * 32


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    """A board with a tally."""
    return Scoreboard(tmp_path / "run", RUN)


def test_numbers_of_many_processes_add_up(tmp_path: Path, board: Scoreboard) -> None:
    """No addition is lost between processes that add at the same time, and none with a process that is killed after it."""
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(50):
                    Tally(tmp_path / "run" / f"{RUN}.board").add({"starts": 1, f"exit:{os.getpid()}": 1})
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert {"starts": 200, **{f"exit:{pid}": 50 for pid in pids}} == board.tally.read()


def test_more_names_than_places_are_counted_together(board: Scoreboard) -> None:
    """The file is bounded: past the last place what is new is counted as `other`."""
    for number in range(200):
        board.tally.add({f"name {number}": 1})
    found = board.tally.read()
    assert (200, True) == (sum(found.values()), found["other"] > 100)


def test_what_was_told_is_where_the_next_one_goes_on(board: Scoreboard) -> None:
    """Differences that one process has exported are not exported again by the next; told never passes the value."""
    board.tally.add({"starts": 5})
    board.tally.tell({"starts": 3})
    board.tally.tell({"starts": 2})
    board.tally.tell({"starts": 4})
    assert ({"starts": 5}, {"starts": 4}) == (board.tally.read(), board.tally.told())


def test_a_tally_harms_no_slot(tmp_path: Path, board: Scoreboard) -> None:
    """Adding opens and closes the board, and leaves the byte lock of the slot where it is."""
    board.tally.add({"starts": 1})
    pid = os.fork()
    if pid == 0:
        os._exit(Scoreboard(tmp_path / "run", RUN).slot)
    assert 1 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
