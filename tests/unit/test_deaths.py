"""Workers on the scoreboard: who lives, how the dead ended, and that each is counted once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from otelfork import workers
from otelfork.run import boardfile, deaths, runs
from otelfork.run.notes import note_death
from otelfork.run.scoreboard import Scoreboard

RUN = "0" * 32
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
START = 1_700_000_000_000_000_000


def enlist(board: Scoreboard, *, supervisor: int = 0, limit: int = 0) -> None:
    """Make the owner of a slot a worker of gunicorn."""
    board.enlist(boardfile.Enlisted("gunicorn", TRACE, SPAN, 1, START, supervisor, limit, own_id=7))


def child(directory: Path, work: Callable[[Scoreboard], object]) -> int:
    """Start a process that takes a slot, works, and waits for its end; return its pid."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            board = Scoreboard(directory, RUN, "shop", rows=15)
            work(board)
            os.write(writing, b"x")
            time.sleep(60)
        finally:
            os._exit(9)
    os.read(reading, 1)
    return pid


def kill(pid: int) -> None:
    """End a process by SIGKILL."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def request(board: Scoreboard, *, age: float = 0.0) -> None:
    """Begin a request that has run for so many seconds."""
    board.begin(bytes(16) + b"1", b"12345678", 1, time.time_ns() - int(age * 1e9), b"GET /slow")


def test_a_killed_worker_is_found_with_its_span(tmp_path: Path) -> None:
    """Server, generation and the server's own number of the worker come with the ids and the start of its span."""
    board = Scoreboard(tmp_path / "run", RUN)
    kill(child(tmp_path / "run", enlist))
    (found,) = board.orphans()
    actual = (found.worker, found.method, found.path, found.trace_id, found.span_id, found.start, found.sampled)
    assert (True, "gunicorn", "1 7", TRACE, SPAN, START, True) == actual


def test_a_successor_finds_the_worker_before_it_and_is_of_the_next_generation(tmp_path: Path) -> None:
    """The generation is the number of the owners that a slot has had."""
    kill(child(tmp_path / "run", enlist))
    board = Scoreboard(tmp_path / "run", RUN)
    enlist(board)
    (found,) = board.orphans()
    assert ("1 7", 2) == (found.path, board.generation)


def test_a_worker_that_ended_leaves_nothing(tmp_path: Path) -> None:
    """After a clean end there is no span to recover, and the kill that follows is not counted."""
    board = Scoreboard(tmp_path / "run", RUN)
    kill(child(tmp_path / "run", lambda own: (enlist(own), own.retire("recycled"))))
    assert ([], {"starts": 1, "exit:recycled": 1}) == (board.orphans(), board.tally.read())


def test_a_death_is_counted_once_by_whoever_finds_it(tmp_path: Path) -> None:
    """The leader that sweeps again and again, and the successor after it, count it together one time."""
    board = Scoreboard(tmp_path / "run", RUN)
    kill(child(tmp_path / "run", lambda own: (enlist(own), request(own))))
    for _ in range(3):
        board.orphans()
    kill(child(tmp_path / "run", enlist))
    board.settled(board.orphans())
    board.orphans()
    assert {"starts": 2, "exit:unknown": 2} == board.tally.read()


def test_what_a_master_noted_is_how_the_worker_ended(tmp_path: Path) -> None:
    """The worker, its requests and the count have the reason that only the master was told by the kernel."""
    board = Scoreboard(tmp_path / "run", RUN)
    pid = child(tmp_path / "run", lambda own: (enlist(own, supervisor=1), request(own)))
    kill(pid)
    assert note_death([tmp_path / "run", tmp_path / "missing"], pid, "SIGSEGV", runs.namespace())
    assert (["SIGSEGV"] * 2, 1) == ([each.ended for each in board.orphans()], board.tally.read()["exit:SIGSEGV"])


def test_a_supervised_death_waits_for_the_masters_word(tmp_path: Path) -> None:
    """The master sees a death a moment after the kernel has dropped the lock: it is not unknown meanwhile."""
    board = Scoreboard(tmp_path / "run", RUN)
    pid = child(tmp_path / "run", lambda own: enlist(own, supervisor=1))
    kill(pid)
    before = board.orphans()
    note_death([tmp_path / "run"], pid, "SIGKILL", runs.namespace())
    assert ([], ["SIGKILL"]) == (before, [each.ended for each in board.orphans()])


def test_a_master_that_never_speaks_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """Some seconds after the last heartbeat the death is told as unknown."""
    board = Scoreboard(tmp_path / "run", RUN)
    kill(child(tmp_path / "run", lambda own: enlist(own, supervisor=1)))
    old = boardfile.U64.pack(time.time_ns() - 60_000_000_000)
    store = board._store
    store.write(store.offset(1) + boardfile.HEARTBEAT, old)
    assert [""] == [each.ended for each in board.orphans()]


@pytest.mark.parametrize("supervisor", ["itself", "dead"])
def test_nobody_waits_for_a_master_that_says_nothing(tmp_path: Path, supervisor: str) -> None:
    """The ending master tells at once what nobody noted, and so does a survivor of a master that is dead."""
    board = Scoreboard(tmp_path / "run", RUN)
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    master = os.getpid() if supervisor == "itself" else gone
    kill(child(tmp_path / "run", lambda own: enlist(own, supervisor=master)))
    assert [""] == [each.ended for each in board.orphans()]


def test_what_the_worker_noted_itself_stays(tmp_path: Path) -> None:
    """A worker that was told it has timed out, and then was killed, has timed out."""
    board = Scoreboard(tmp_path / "run", RUN)
    pid = child(tmp_path / "run", lambda own: (enlist(own), own.mark("timeout")))
    kill(pid)
    note_death([tmp_path / "run"], pid, "SIGKILL", runs.namespace())
    assert ["timeout"] == [each.ended for each in board.orphans()]


def test_a_pid_of_another_namespace_is_another_process(tmp_path: Path) -> None:
    """Two containers may share a directory; their pids say nothing to each other."""
    pid = child(tmp_path / "run", enlist)
    kill(pid)
    assert not note_death([tmp_path / "run"], pid, "SIGKILL", runs.namespace() + 1)


def test_a_note_harms_no_slot(tmp_path: Path, monkeypatch) -> None:
    """A process that has a slot keeps it when it notes a death: the lock file is neither opened nor closed."""
    monkeypatch.setenv("OTELFORK_RUN_DIR", str(tmp_path / "run"))
    Scoreboard(tmp_path / "run", RUN)
    pid = child(tmp_path / "run", enlist)
    kill(pid)
    workers.departed(pid, status=9)
    taken = os.fork()
    if taken == 0:
        os._exit(Scoreboard(tmp_path / "run", RUN).slot)
    assert 1 == os.waitstatus_to_exitcode(os.waitpid(taken, 0)[1])


def test_a_request_beyond_the_servers_limit_is_a_timeout(tmp_path: Path) -> None:
    """uWSGI's harakiri is a SIGKILL that nobody explains: who was busy for longer than it allows was killed for that."""
    found = {}
    for age in (1.0, 11.0):
        directory = tmp_path / str(age)
        board = Scoreboard(directory, RUN, rows=15)
        kill(child(directory, lambda own, age=age: (enlist(own, limit=10), request(own, age=age))))
        found[age] = {each.ended for each in board.orphans()}
    assert {1.0: {""}, 11.0: {"timeout"}} == found


@pytest.mark.parametrize(("begun", "ended"), [(1.9, "timeout"), (2.1, "")])
def test_a_servers_limit_is_counted_in_whole_seconds(begun: float, ended: str) -> None:
    """What began at the end of a second is killed nearly a second sooner, as uWSGI's clock has it."""
    second = 1_000_000_000
    start, died = int(begun * second), 5 * second + 1
    content = bytearray(boardfile.ROW * 3)
    boardfile.SLOT.pack_into(content, 0, 1, 1, 0, 0, 1, died - second, b"", 1, 1, 4, 0, 0, b"uwsgi", 0)
    boardfile.REQUEST.pack_into(
        content, boardfile.ROW, 1, 1, 0, bytes(55), b"", start, b"", b"", 0, 0, boardfile.RUNNING
    )
    assert ended == deaths.how(boardfile.Owner.read(bytes(content)), bytes(content))


def test_a_finder_that_comes_late_makes_no_timeout(tmp_path: Path) -> None:
    """The time since the death is not taken for the request's."""
    now = time.time_ns()
    content = bytearray(boardfile.ROW * 3)
    boardfile.SLOT.pack_into(
        content, 0, 1, 1, 0, 0, now - 90_000_000_000, now - 60_000_000_000, b"", 1, 1, 10, 0, 0, b"gunicorn", 0
    )
    boardfile.REQUEST.pack_into(
        content, boardfile.ROW, 1, 1, 0, bytes(55), b"", now - 65_000_000_000, b"", b"", 0, 0, boardfile.RUNNING
    )
    assert "" == deaths.how(boardfile.Owner.read(bytes(content)), bytes(content))


def test_the_living_are_counted_by_what_they_do(tmp_path: Path) -> None:
    """Busy, idle, their requests; not the dead, those that leave, and processes that are no workers."""
    board = Scoreboard(tmp_path / "run", RUN, rows=15)
    enlist(board)
    pids = [
        child(tmp_path / "run", work)
        for work in (
            lambda own: (enlist(own), [request(own) for _ in range(3)]),
            lambda own: (enlist(own), request(own), own.retire("stopped")),
            request,
            lambda own: (enlist(own), request(own)),
        )
    ]
    kill(pids.pop())
    census = board.census()
    for pid in pids:
        kill(pid)
    assert (1, 1, 4, True) == (census.busy, census.idle, census.requests, census.first)


def test_requests_beyond_the_rows_are_counted_among_the_running(tmp_path: Path) -> None:
    """Rows are a bound on what a kill can show, not on what the figures tell."""
    board = Scoreboard(tmp_path / "run", RUN, rows=15)
    enlist(board)
    rows = [board.begin(bytes(16) + b"1", b"%08d" % number, 1, START, b"GET /") for number in range(1, 21)]
    board.end(rows[-1])
    assert (19, 5) == (board.census().requests, board.missed)


def test_the_next_worker_reports_when_the_first_leaves(tmp_path: Path) -> None:
    """The living worker with the lowest slot reports; one that leaves gives that to the next, and the last one keeps it."""
    first = Scoreboard(tmp_path / "run", RUN)
    enlist(first)
    reading, writing = os.pipe()

    def look(own: Scoreboard) -> None:
        enlist(own)
        os.write(writing, b"1" if own.census().first else b"0")

    kill(child(tmp_path / "run", look))
    first.retire("stopped")
    second = child(tmp_path / "run", look)
    beside = first.census().first
    kill(second)
    alone = first.census().first
    assert (b"01", False, True) == (os.read(reading, 9), beside, alone)


def test_another_layout_is_another_run(monkeypatch) -> None:
    """A server that is reloaded after an upgrade begins a file of its own: no layout is misread."""
    before = runs.key("origin", "shop")
    monkeypatch.setattr(runs, "MAGIC", b"otelfrk9")
    assert before != runs.key("origin", "shop")


def test_a_dead_run_of_another_layout_is_not_read(tmp_path: Path) -> None:
    """Its bytes mean something else."""
    Scoreboard(tmp_path / "run", RUN)
    content = bytearray((tmp_path / "run" / f"{RUN}.board").read_bytes())
    content[:8] = b"otelfrk1"
    assert ([], "") == boardfile.read_dead(bytes(content))
