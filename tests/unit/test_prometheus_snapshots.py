"""One worker's slot, kept up to date."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from tests.unit.exporting import PATIENCE

from otelfork.prometheus.families import COUNTER, GAUGE, Family, load
from otelfork.prometheus.slots import Slots
from otelfork.prometheus.snapshots import Snapshots

KEY = "[]"


class Counting:
    """What a worker counts."""

    def __init__(self) -> None:
        self.value = 0
        self.error: Exception | None = None
        self.held = threading.Event()
        self.held.set()

    def __call__(self):
        self.held.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return {"c": Family(COUNTER, "", "", "sum", {KEY: self.value}), "g": Family(GAUGE, "", "", "sum", {KEY: 1})}, {}


@pytest.fixture
def slots(tmp_path):
    """Return the slots of a run in a directory of its own."""
    return Slots(tmp_path, "0" * 32)


@pytest.fixture
def worker(slots):
    """Return what makes the snapshots of a worker in slot 0; all of them are stopped in the end."""
    made = []

    def make(take, chore=lambda: None):
        snapshots = Snapshots(take, slots, 0, chore)
        made.append(snapshots)
        snapshots.start()
        return snapshots

    yield make
    for each in made:
        each.stop(time.monotonic() + PATIENCE)


def written(slots, snapshots):
    """Have a snapshot made; return what stands in the file."""
    assert snapshots.hurry()(time.monotonic() + PATIENCE)
    return {name: family.series[KEY] for name, family in load(slots.read(0)["families"]).items()}


def until(condition):
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_a_snapshot_is_made_when_somebody_asks(slots, worker):
    """The answer comes when the file is up to date."""
    counting = Counting()
    snapshots = worker(counting)
    counting.value = 5
    assert {"c": 5, "g": 1} == written(slots, snapshots)


def test_a_snapshot_is_made_though_nobody_asks(slots, worker):
    """About once a second, and soon after the start."""
    counting = Counting()
    counting.value = 1
    worker(counting)
    assert until(lambda: slots.read(0))
    counting.value = 2
    assert until(lambda: load(slots.read(0)["families"])["c"].series[KEY] == 2)


def test_a_successor_counts_on(slots, worker):
    """It starts from what its predecessor has counted; what that showed of a moment is gone. Once, whatever is asked."""
    counting = Counting()
    counting.value = 5
    first = worker(counting)
    written(slots, first)
    first.stop(time.monotonic() + PATIENCE)
    successor, found = Counting(), []
    snapshots = worker(successor)
    for successor.value in (0, 2, 3):
        found.append(written(slots, snapshots))
    assert [{"c": 5, "g": 1}, {"c": 7, "g": 1}, {"c": 8, "g": 1}] == found


def test_a_successor_that_died_at_once_takes_nothing_away(slots, worker):
    """Its predecessor's file stands until its own is written."""
    counting = Counting()
    counting.value = 5
    first = worker(counting)
    before = written(slots, first)
    first.stop(time.monotonic() + PATIENCE)
    slots.listen(0).close()
    assert before == {name: family.series[KEY] for name, family in load(slots.read(0)["families"]).items()}


def test_nothing_is_written_after_the_stop(slots, worker):
    """The slot may be somebody else's: a collection that was under way is thrown away."""
    counting = Counting()
    snapshots = worker(counting)
    written(slots, snapshots)
    counting.held.clear()
    wait = snapshots.hurry()
    snapshots.stop(time.monotonic())
    slots.write(0, {"somebody": "else"})
    counting.held.set()
    wait(time.monotonic() + PATIENCE)
    assert "else" == slots.read(0)["somebody"]


def test_an_error_is_said_once_and_the_thread_goes_on(slots, worker, caplog):
    """A callback that raises costs its snapshot only."""
    counting = Counting()
    snapshots = worker(counting)
    counting.error = ValueError("no")
    with caplog.at_level(logging.ERROR, "otelfork"):
        for _ in range(2):
            snapshots.hurry()(time.monotonic() + PATIENCE)
    counting.error, counting.value = None, 9
    assert (1, 9) == (len(caplog.records), written(slots, snapshots)["c"])


def test_a_fork_waits_for_the_end_of_a_snapshot(slots, worker):
    """While it is paused none is made; a pause past its deadline does not wait."""
    counting = Counting()
    snapshots = worker(counting)
    written(slots, snapshots)
    assert snapshots.pause(time.monotonic() + PATIENCE)
    asked = snapshots.hurry()(time.monotonic() + 0.05)
    snapshots.resume()
    assert (False, {"c": 0, "g": 1}) == (asked, written(slots, snapshots))


def test_a_callback_may_flush(slots, worker):
    """It is not waited for by the thread that is busy with it."""
    snapshots = worker(lambda: (flushed.append(snapshots.hurry()(time.monotonic() + PATIENCE)), ({}, {}))[1])
    flushed = []
    asked = snapshots.hurry()(time.monotonic() + PATIENCE)
    assert (True, True) == (asked, flushed[0])


def test_the_chore_is_done(worker):
    """About once a second, an error of its own included."""
    done = []

    def chore():
        done.append(1)
        raise ValueError

    worker(Counting(), chore)
    assert until(lambda: len(done) > 1)
