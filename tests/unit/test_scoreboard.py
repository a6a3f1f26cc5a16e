"""The scoreboard: slots by byte locks, rows that survive their writer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fresh import run

from otelfork.run import claiming
from otelfork.run.boardfile import Orphan
from otelfork.run.deadruns import dead_runs, has_orphans
from otelfork.run.scoreboard import Scoreboard
from otelfork.run.store import NoScoreboard
from otelfork.senders import made

RUN = "0" * 32
TRACE, SPAN, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, 0x53995C3F42CD8AD8


def killed(directory: Path, work: Callable[[Scoreboard], None], run: str = RUN, service: str = "shop") -> int:
    """Let a child take a slot, work, and die by SIGKILL; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work(Scoreboard(directory, run, service))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    return pid


PLAIN = b"\0" + TRACE.to_bytes(16, "big") + PARENT.to_bytes(8, "big")


def begin(board: Scoreboard, text: str = "GET /slow", span: int = SPAN, origin: bytes = PLAIN) -> int:
    """Begin a sampled request."""
    return board.begin(origin, span.to_bytes(8, "big"), 1, 1_700_000_000_000_000_000, text.encode("utf-8", "replace"))


def test_running_request_of_a_killed_process_is_found_by_a_living_one(tmp_path: Path) -> None:
    """What a killed process was busy with is read with its ids, its start and its path."""
    board = Scoreboard(tmp_path / "run", RUN, "shop")
    pid = killed(tmp_path / "run", lambda own: (begin(own), own.mark("SIGKILL"))[0] and None)
    (orphan,) = board.orphans()
    expected = Orphan(
        slot=1,
        row=1,
        trace_id=TRACE,
        span_id=SPAN,
        parent_id=PARENT,
        sampled=True,
        start=1_700_000_000_000_000_000,
        heartbeat=orphan.heartbeat,
        pid=pid,
        method="GET",
        path="/slow",
        ended="SIGKILL",
        bits=board.bits,
    )
    assert expected == orphan


@pytest.mark.parametrize(
    ("origin", "parent"),
    [(made(TRACE, PARENT, 1), PARENT), (PLAIN, PARENT), (PLAIN[:17], 0)],
    ids=["sent", "ids", "root"],
)
def test_an_orphan_has_the_ids_of_its_request(tmp_path: Path, origin: bytes, parent: int) -> None:
    """However they were noted: as the header that came, or as numbers, with or without a parent."""
    board = Scoreboard(tmp_path / "run", RUN)
    killed(tmp_path / "run", lambda own: begin(own, origin=origin) and None)
    assert [(TRACE, SPAN, parent)] == [(each.trace_id, each.span_id, each.parent_id) for each in board.orphans()]


def test_a_row_that_was_not_written_whole_costs_no_other(tmp_path: Path) -> None:
    """A machine that goes down may keep one of a row's two pages."""
    board = Scoreboard(tmp_path / "run", RUN)
    broken = made(TRACE, PARENT, 1)[:20] + bytes(35)
    killed(tmp_path / "run", lambda own: (begin(own, origin=broken), begin(own))[0] and None)
    assert [PARENT] == [each.parent_id for each in board.orphans()]


def test_the_request_whose_worker_was_killed_is_in_its_senders_trace() -> None:
    """A middleware's request, of a trace and of none, found by the next process."""
    lines = run("""
        from tests.unit.recording import call_wsgi, environ
        class Ids(Spans):
            def export(self, batch, *args, **kwargs):
                for span in batch:
                    parent = "none" if span.parent is None else f"{span.parent.span_id:016x}"
                    out(span.name, f"{span.context.trace_id:032x}"[:8] if span.parent else "own", parent)
        configure(exporters={"traces": [Ids], "metrics": [], "logs": []})
        def app(environ, start_response):
            os.kill(os.getpid(), signal.SIGKILL)
        for sent in ({"HTTP_TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {}):
            pid = os.fork()
            if pid == 0:
                call_wsgi(otelfork.OtelMiddleware(app), environ(**sent))
            os.waitpid(pid, 0)
        span("of the survivor")
        otelfork.flush(10)
        os._exit(0)
    """)
    assert ["GET 0af76519 b7ad6b7169203331", "GET own none", "of the survivor own none"] == sorted(lines)


def test_orphans_are_found_until_they_are_settled(tmp_path: Path) -> None:
    """Sending is at least once: a row is cleared by `settled` and by nothing else."""
    board = Scoreboard(tmp_path / "run", RUN)
    killed(tmp_path / "run", lambda own: begin(own) and None)
    before = [board.orphans(), board.orphans()]
    board.settled(before[0])
    assert [1, 1, 0] == [len(before[0]), len(before[1]), len(board.orphans())]


def test_of_two_that_find_an_orphan_one_sends_it(tmp_path: Path) -> None:
    """The leading process and the slot's next owner: whoever comes first; the other one where that takes too long, or has died."""
    leader = Scoreboard(tmp_path / "run", RUN)
    killed(tmp_path / "run", lambda own: begin(own) and None)
    found = leader.orphans()
    first = len(leader.claim(found)), len(leader.claim(found))  # a second try is its own
    told: list[tuple[int, int]] = []

    def succeed(late: float) -> int:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            successor = Scoreboard(tmp_path / "run", RUN)
            orphans = successor.orphans()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(claiming.time, "time", lambda now=time.time: now() + late)
                os.write(write, bytes((len(orphans), len(successor.claim(orphans)))))
            os._exit(0)
        os.waitpid(pid, 0)
        told.append((os.read(read, 1)[0], os.read(read, 1)[0]))
        os.close(read)
        os.close(write)
        return pid

    succeed(0)
    succeed(claiming.CLAIM_SECONDS + 1)
    leader.settled(found)
    assert ((1, 1), [(1, 0), (1, 1)], []) == (first, told, leader.claim(found))


def test_rows_that_another_process_has_cleared_are_free_again(tmp_path: Path) -> None:
    """What the leading process sends of a successor's slot is lost to nobody."""
    leader = Scoreboard(tmp_path / "run", RUN, rows=15)
    killed(tmp_path / "run", lambda own: [begin(own, span=number) for number in range(1, 16)] and None)
    found = leader.claim(leader.orphans())
    pid = os.fork()
    if pid == 0:
        successor = Scoreboard(tmp_path / "run", RUN)
        before = begin(successor)
        leader.settled(found)
        again = successor.orphans(), {begin(successor, span=number) for number in range(20, 35)}
        os._exit((before, again) != (-1, ([], set(range(1, 16)))))
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_ended_request_leaves_nothing(tmp_path: Path) -> None:
    """A request that ended before its worker was killed is nobody's orphan."""
    board = Scoreboard(tmp_path / "run", RUN)
    killed(tmp_path / "run", lambda own: own.end(begin(own)))
    assert [] == board.orphans()


def test_successor_takes_the_slot_and_finds_its_predecessors_requests(tmp_path: Path) -> None:
    """A slot is reused by the next process, with the same instance id; the rows left there are its to report."""
    ids: list[str] = []
    killed(tmp_path / "run", lambda own: begin(own) and None)
    board = Scoreboard(tmp_path / "run", RUN)
    ids.append(board.instance_id)
    orphans = board.orphans()
    assert (0, ["/slow"]) == (board.slot, [orphan.path for orphan in orphans])


def test_successor_does_not_use_the_rows_of_unsettled_orphans(tmp_path: Path) -> None:
    """A row that still has to be reported is not overwritten, and is free again once it was settled."""
    killed(tmp_path / "run", lambda own: begin(own) and None)
    board = Scoreboard(tmp_path / "run", RUN, rows=15)
    first = {begin(board, span=number) for number in range(1, 70)}
    for row in first:
        board.end(row)
    board.settled(board.orphans())
    rows = {begin(board, span=number) for number in range(1, 70)}
    assert (False, True) == (1 in first, 1 in rows)


def test_a_request_more_than_there_are_rows_is_counted(tmp_path: Path) -> None:
    """The rows are a bound: what does not fit is counted, and its row is none."""
    board = Scoreboard(tmp_path / "run", RUN, rows=15)
    rows = [begin(board, span=number) for number in range(1, 18)]
    board.end(rows[-1])
    assert ([-1, -1], 2) == (rows[15:], board.missed)


def test_no_two_living_processes_share_an_instance_id(tmp_path: Path) -> None:
    """Each living process has a slot of its own, and with it an id of its own."""
    board = Scoreboard(tmp_path / "run", RUN)
    reading, writing = os.pipe()
    pids = []
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, (Scoreboard(tmp_path / "run", RUN).instance_id + "\n").encode())
                signal.pause()
            finally:
                os._exit(0)
        pids.append(pid)
    ids = [board.instance_id]
    while len(ids) < 6:
        ids += os.read(reading, 4096).decode().split()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert 6 == len(set(ids))


@pytest.mark.parametrize("processes", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_recycled_processes_leave_one_id(tmp_path: Path, processes: int) -> None:
    """The number of ids is bounded by the slots that live at once, not by the processes that came and went."""
    reading, writing = os.pipe()
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, Scoreboard(tmp_path / "run", RUN).instance_id.encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    seen = os.read(reading, processes * 36).decode()
    assert 1 == len({seen[at : at + 36] for at in range(0, len(seen), 36)})


def test_slot_of_a_killed_process_is_free_though_its_child_lives_on(tmp_path: Path) -> None:
    """A POSIX lock goes with its owner, whatever orphaned child still holds the file open."""
    child_pid, tell = os.pipe()

    def with_child(own: Scoreboard) -> None:
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(30)
            os._exit(0)
        os.write(tell, str(grandchild).encode())

    killed(tmp_path / "run", with_child)
    grandchild = int(os.read(child_pid, 100))
    try:
        assert 0 == Scoreboard(tmp_path / "run", RUN).slot
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_slots_are_capped(tmp_path: Path) -> None:
    """Where all slots are taken a process goes without the scoreboard."""
    Scoreboard(tmp_path / "run", RUN, slots=1)
    pid = os.fork()
    if pid == 0:
        try:
            Scoreboard(tmp_path / "run", RUN, slots=1)
        except NoScoreboard:
            os._exit(7)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert 7 == os.waitstatus_to_exitcode(status)


def test_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    """A directory where somebody else could plant or read files is not used."""
    tmp_path.chmod(0o755)
    with pytest.raises(NoScoreboard, match="mode 0700"):
        Scoreboard(tmp_path, RUN)


def test_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Without a directory there is no scoreboard, and the reason is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(NoScoreboard, match="file"):
        Scoreboard(tmp_path / "file" / "run", RUN)


def test_files_are_private(tmp_path: Path) -> None:
    """The directory has mode 0700, the files 0600."""
    Scoreboard(tmp_path / "run", RUN)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert (0o700, {0o600}) == ((tmp_path / "run").stat().st_mode & 0o777, modes)


def test_dead_runs_are_read_and_removed(tmp_path: Path) -> None:
    """The next run of the service reports what the last one left, and its files are gone afterwards."""
    killed(tmp_path / "run", lambda own: begin(own) and None, run="1" * 32)
    Scoreboard(tmp_path / "run", RUN, "shop")
    for kind in ("0.metrics", "0.ask", "holder"):  # what its slots have counted goes with them
        (tmp_path / "run" / f"{'1' * 32}.{kind}").touch()
    found: list[str] = []
    dead_runs(tmp_path / "run", RUN, "shop", lambda orphans: not found.extend(orphan.path for orphan in orphans))
    left = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert (["/slow"], [f"{RUN}.board", f"{RUN}.lock"]) == (found, left)


def test_dead_run_stays_until_it_was_handled(tmp_path: Path) -> None:
    """Where the orphans could not be sent the files stay for the next try."""
    killed(tmp_path / "run", lambda own: begin(own) and None, run="1" * 32)
    dead_runs(tmp_path / "run", RUN, "shop", lambda orphans: False)
    assert has_orphans(tmp_path / "run" / f"{'1' * 32}.board")


def test_living_run_is_left_alone(tmp_path: Path) -> None:
    """Files of another run with a living process are neither read nor removed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            begin(Scoreboard(tmp_path / "run", "1" * 32, "shop"))
            os.write(writing, b"x")
            signal.pause()
        finally:
            os._exit(0)
    os.read(reading, 1)
    try:
        found: list[Orphan] = []
        dead_runs(tmp_path / "run", RUN, "shop", lambda orphans: not found.extend(orphans))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ([], True) == (found, (tmp_path / "run" / f"{'1' * 32}.board").exists())


def test_dead_run_of_another_service_is_left_to_it(tmp_path: Path) -> None:
    """Orphans of another service are not reported under this one's name, and not thrown away either."""
    killed(tmp_path / "run", lambda own: begin(own) and None, run="1" * 32, service="other")
    found: list[Orphan] = []
    dead_runs(tmp_path / "run", RUN, "shop", lambda orphans: not found.extend(orphans))
    assert ([], True) == (found, (tmp_path / "run" / f"{'1' * 32}.board").exists())


def test_long_path_is_cut_and_odd_bytes_survive(tmp_path: Path) -> None:
    """A row holds a bounded text; what is cut in the middle of a character is still readable."""
    board = Scoreboard(tmp_path / "run", RUN)
    killed(tmp_path / "run", lambda own: begin(own, "GET /" + "é" * 400) and None)
    (orphan,) = board.orphans()
    assert ("GET", True, True) == (orphan.method, orphan.path.startswith("/éé"), len(orphan.path) < 176)


def test_rows_of_a_marked_process_stay_until_they_are_released(tmp_path: Path) -> None:
    """A request that ends after the mark is found by a survivor, unless its span was sent before the process died."""
    left: dict[bool, int] = {}
    for released in (False, True):
        board = Scoreboard(tmp_path / str(released), RUN, "shop")

        def work(own: Scoreboard, *, released: bool = released) -> None:
            row = begin(own)
            own.mark("timeout")
            own.end(row)
            if released:
                own.release(own.kept())

        killed(tmp_path / str(released), work)
        left[released] = len(board.orphans())
    assert {False: 1, True: 0} == left
