"""A stream: bounded for ever, and honest about what it drops."""

from __future__ import annotations

import threading
import time

from tests.unit.exporting import FAILURE, Keeping, batches, soon, stream

from otelfork.complaints import Complaints
from otelfork.streams import Stream


def test_the_queue_is_bounded_under_many_threads():
    """However many threads put: the queue holds its size, and one record for each other thread that puts at that moment."""
    complaints, threads = Complaints(), 16
    full = stream(Keeping(), batches(queue_size=100, batch_size=100), complaints)

    def put():
        for record in range(2000):
            full.put(record)

    running = [threading.Thread(target=put) for _ in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    kept = len(full.queue)
    assert (True, threads * 2000 - kept) == (
        100 <= kept < 100 + threads,
        complaints.totals()[("spans", "queue_full")],
    )


def test_batches_have_the_size_of_the_settings():
    """A flush exports full batches and the rest."""
    exporter = Keeping()
    full = stream(exporter, batches(batch_size=4))
    for record in range(10):
        full.put(record)
    full.drain(soon(), everything=True)
    assert [4, 4, 2] == [len(batch) for batch in exporter.batches]


def test_a_wake_exports_full_batches_only():
    """What does not fill a batch waits for the delay."""
    exporter = Keeping()
    full = stream(exporter, batches(batch_size=4))
    for record in range(10):
        full.put(record)
    full.drain(soon(), everything=False)
    assert ([4, 4], 2) == ([len(batch) for batch in exporter.batches], len(full.queue))


def test_a_drain_past_its_deadline_leaves_the_rest_queued():
    """The export timeout bounds a drain; nothing is lost by it."""

    class Slow(Keeping):
        def export(self, batch):
            time.sleep(0.05)
            return super().export(batch)

    exporter = Slow()
    full = stream(exporter, batches(batch_size=1))
    for record in range(100):
        full.put(record)
    delivered = full.drain(soon(0.12), everything=True)
    exported = len(exporter.records)
    assert (False, True, 100 - exported) == (delivered, 1 <= exported < 100, len(full.queue))


def test_every_exporter_of_a_list_gets_every_batch():
    """`otlp,console`: one that fails does not keep the other from its copy, and counts as a loss."""
    complaints, failing, working = Complaints(), Keeping(OSError("refused")), Keeping()
    both = Stream("spans", batches(), lambda: [failing, working], lambda: None, complaints)
    both.put("a")
    delivered = both.drain(soon(), everything=True)
    assert (False, ["a"], {("spans", "export_failed"): 1}) == (delivered, working.records, complaints.totals())


def test_a_result_of_failure_is_a_loss():
    """An exporter may fail without an exception."""
    complaints = Complaints()
    failing = stream(Keeping(FAILURE), complaints=complaints)
    failing.put("a")
    failing.drain(soon(), everything=True)
    assert {("spans", "export_failed"): 1} == complaints.totals()


def test_a_wake_that_lost_a_race_does_not_silence_the_next():
    """A thread that signals for records which a drain has just taken leaves the signal usable."""
    wakes = []
    racing = Stream("spans", batches(batch_size=2), lambda: [Keeping()], lambda: wakes.append(1), Complaints())
    racing.due = soon(3600)
    racing._signalled = True  # put() of another thread, after the drain that took its record
    racing.ready(time.monotonic())
    racing.put("a")
    racing.put("b")
    assert [1] == wakes


def test_an_exporter_that_cannot_be_built_is_a_loss_and_tried_again():
    """What it refuses is the reason; when it can be built later, exports go on."""
    complaints, made = Complaints(), []

    def build():
        made.append(1)
        if len(made) == 1:
            raise ValueError("no such compression")
        return [working]

    working = Keeping()
    retried = Stream("spans", batches(), build, lambda: None, complaints)
    for record in ("a", "b"):
        retried.put(record)
        retried.drain(soon(), everything=True)
    assert (["b"], {("spans", "export_failed"): 1}) == (working.records, complaints.totals())
