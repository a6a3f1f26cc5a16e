"""A flush has one deadline for all signals, and a fork finds a quiet point: what hangs is broken off and sent again."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from tests.unit.exporting import FAILURE, PATIENCE, Hanging, Keeping, batches, outbox, soon, until

from otelfork.delivery import flushing, outcome
from otelfork.delivery.backoff import Backoff


@pytest.fixture
def box():
    """Make an outbox, and stop it after the test."""
    made = outbox()
    yield made
    made.stop(soon())


class Unanswered(Keeping):
    """Waits for an answer that never comes, as a transport does that can be told to end its request."""

    def __init__(self, *, in_c: bool = False) -> None:
        super().__init__()
        self.in_c = in_c
        self.asked = threading.Event()
        self.answering = False

    def export(self, batch):
        self.asked.set()
        if self.answering:
            return super().export(batch)
        ended = threading.Event()
        told = outcome.watched()
        told.cancel, told.in_c = ended.set, self.in_c
        ended.wait(told.left(PATIENCE))
        told.passing = True
        return FAILURE


@pytest.mark.parametrize(("in_c", "parked"), [(True, True), (False, False)])
def test_a_fork_ends_a_call_that_a_child_must_not_inherit(box, in_c, parked):
    """It comes again when the fork is over, and is counted; a request that is safe in a child is left to its collector."""
    exporter = Unanswered(in_c=in_c)
    stream = box.stream("spans", batches(batch_size=1), lambda: exporter)
    box.start()
    stream.put("a")
    exporter.asked.wait(PATIENCE)
    found = box.pause(soon(0.5 if parked else 0.02))
    exporter.answering = True
    if found:
        box.resume()
    assert (parked, parked, int(parked)) == (
        found,
        until(lambda: exporter.records == ["a"]) if parked else False,
        box.tries.repeated,
    )
    box.tries.break_off()


def test_between_pause_and_resume_no_try_is_begun(box):
    """What is queued meanwhile waits, and a flush that finds a fork under way goes on after it."""
    exporter = Keeping()
    stream = box.stream("spans", batches(), lambda: exporter)
    box.pause(soon())
    stream.put("a")
    delivered = stream.drain(soon(), everything=True)
    box.resume()
    assert (False, [], True) == (delivered, exporter.records, stream.drain(soon(), everything=True))


@pytest.mark.parametrize("threads", [True, False])
def test_a_signal_that_hangs_costs_the_others_nothing(box, monkeypatch, threads):
    """One deadline for all: side by side where threads can be had, else each with its share."""
    hanging, keeping = Unanswered(), Keeping()
    spans = box.stream("spans", batches(), lambda: hanging)
    logs = box.stream("logs", batches(), lambda: keeping)
    collected = []
    collect = lambda timeout: collected.append(timeout) or True  # noqa: E731
    box.readers.append(SimpleNamespace(backoff=Backoff(), collect_and_export=collect, shutdown=list))
    box.start()
    if not threads:
        monkeypatch.setattr(flushing, "_beside", lambda *_: None)
    spans.put("a"), logs.put("b")
    assert (False, ["b"], True) == (box.flush(soon(0.4)), keeping.records, bool(collected))


def test_a_try_that_hangs_when_the_flush_comes_is_broken_off(box):
    """It began long before with a time of its own; the others' records leave, and its own are tried again."""
    hanging, keeping = Unanswered(), Keeping()
    spans = box.stream("spans", batches(batch_size=1), lambda: hanging)
    logs = box.stream("logs", batches(), lambda: keeping)
    box.start()
    spans.put("a")
    hanging.asked.wait(PATIENCE)
    logs.put("b")
    hanging.answering = True
    assert (True, ["a"], ["b"], 1) == (box.flush(soon(2.0)), hanging.records, keeping.records, box.tries.repeated)


def test_a_flush_does_not_break_off_another_that_ends_before_it(box):
    """The exporter thread is at a flush with a deadline of its own: what that waits for may come, and is not sent twice."""
    slow = Hanging()
    spans = box.stream("spans", batches(), lambda: slow)
    box.start()
    spans.put("a")
    first = threading.Thread(target=box.flush, args=(soon(1.0),))
    first.start()
    slow.called.wait(PATIENCE)
    second = []
    other = threading.Thread(target=lambda: second.append(box.flush(soon(1.2))))
    other.start()
    other.join(0.6)  # past its patience
    hurried = box.tries.hurried
    slow.let_go.set()
    first.join(), other.join()
    assert (False, [True], ["a"]) == (hurried, second, slow.records)
