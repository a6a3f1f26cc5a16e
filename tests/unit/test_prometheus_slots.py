"""The files and sockets of a run's slots."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from otelfork.prometheus.slots import Slots, alive, answer, answered
from otelfork.run import runs

RUN = "0" * 32


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    """Return the slots of a run in a directory of its own."""
    return Slots(tmp_path, RUN)


def answering(slots: Slots, slot: int) -> threading.Thread:
    """Answer one question to a slot, on a thread."""
    listener = slots.listen(slot)

    def once():
        answer(listener.accept()[0])
        listener.close()

    thread = threading.Thread(target=once)
    thread.start()
    return thread


def ask(slots: Slots, numbers: list[int], seconds: float) -> set[int]:
    """Return the slots whose owners answer in time."""
    deadline = time.monotonic() + seconds
    return {slot for slot, line in slots.ask(numbers) if answered(line, deadline)}


def test_a_slot_is_read_as_it_was_written(slots, tmp_path):
    """What was written last stands there, for nobody but its user."""
    slots.write(3, {"a": 1})
    slots.write(3, {"a": 2})
    (file,) = tmp_path.iterdir()
    assert 0o600 == file.stat().st_mode & 0o777
    assert (2, [3], {}) == (slots.read(3)["a"], slots.known(), slots.read(4))


def test_a_torn_file_is_never_seen(slots, tmp_path):
    """A writer that was killed half-way leaves the old file; what it left beside it is used by the next."""
    slots.write(3, {"a": 1})
    (tmp_path / f"{RUN}.3.fresh").write_text('{"a":')
    before = slots.read(3)
    slots.write(3, {"a": 2})
    assert (1, 2, [f"{RUN}.3.metrics"]) == (
        before["a"],
        slots.read(3)["a"],
        [path.name for path in tmp_path.iterdir()],
    )


def test_files_of_other_runs_are_not_ours(slots, tmp_path):
    """Only this run's slots are known."""
    Slots(tmp_path, "1" * 32).write(5, {})
    slots.write(10, {})
    slots.write(9, {})
    assert [9, 10] == slots.known()


def test_an_owner_that_has_written_nothing_yet_is_known(slots):
    """It can be asked from its start."""
    listener = slots.listen(2)
    found = slots.known()
    listener.close()
    assert [2] == found


def test_owners_are_asked_all_at_once(slots):
    """Those that answer are returned; where nobody listens nobody is waited for."""
    threads = [answering(slots, slot) for slot in (1, 2)]
    found = ask(slots, [1, 2, 3], 5)
    for thread in threads:
        thread.join()
    assert {1, 2} == found


def test_a_busy_owner_is_not_waited_for(slots):
    """Past the deadline it counts as one that did not answer."""
    listener = slots.listen(1)
    found = ask(slots, [1], 0.01)
    listener.close()
    assert set() == found


def test_a_deep_directory_will_do(tmp_path):
    """The address of a socket has 107 bytes; the directory may be deeper."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    slots = Slots(deep, RUN)
    thread = answering(slots, 1)
    found = ask(slots, [1], 5)
    thread.join()
    assert {1} == found


def test_a_successor_takes_over_the_socket(slots):
    """What a killed owner left in the directory is in nobody's way."""
    slots.listen(1).close()
    thread = answering(slots, 1)
    found = ask(slots, [1], 5)
    thread.join()
    assert {1} == found


def test_recycled_workers_leave_the_files_of_their_slots(slots, tmp_path):
    """Two files a slot, however many workers have come and gone."""
    for worker in range(1000):
        slots.listen(worker % 4).close()
        slots.write(worker % 4, {"worker": worker})
    assert (8, 999) == (len([*tmp_path.iterdir()]), slots.read(3)["worker"])


def test_a_process_that_took_the_pid_is_somebody_else():
    """Pids come again; the start of the process tells."""
    own, started = os.getpid(), runs.start_time(os.getpid())
    assert [True, False] == [alive(own, started), alive(own, started + 1)]


def test_a_file_of_another_release_is_passed_over(slots, tmp_path):
    """A reload may bring another release into a run, which may write otherwise."""
    (tmp_path / f"{RUN}.3.metrics").write_text('{"format": 0, "families": 7}')
    assert {} == slots.read(3)
