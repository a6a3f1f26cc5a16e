"""A stream: bounded for ever, and honest about what it drops."""

from __future__ import annotations

import threading
import time

from tests.unit.exporting import FAILURE, Keeping, batches, soon, stream

from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outcome import watched
from otelfork.delivery.streams import Fan, Stream


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
    both = Fan([stream(failing, complaints=complaints), stream(working, complaints=complaints)])
    both.put("a")
    delivered = [each.drain(soon(), everything=True) for each in both.streams]
    assert ([False, True], ["a"], {("spans", "export_failed"): 1}) == (
        delivered,
        working.records,
        complaints.totals(),
    )


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
    racing = Stream("spans", batches(batch_size=2), Keeping, lambda: wakes.append(1), Complaints())
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
        return working

    working = Keeping()
    retried = Stream("spans", batches(), build, lambda: None, complaints)
    for record in ("a", "b"):
        retried.put(record)
        retried.drain(soon(), everything=True)
    assert (["b"], {("spans", "export_failed"): 1}) == (working.records, complaints.totals())


def refusing(*answers):
    """Return an exporter whose tries meet these outcomes: None is a success, else (passing, seconds asked)."""
    left = list(answers)

    class Refusing(Keeping):
        def export(self, batch):
            met = left.pop(0) if left else None
            if met is None:
                return super().export(batch)
            watched().passing, watched().retry_after = met
            self.refused.append(list(batch))
            return FAILURE

    made = Refusing()
    made.refused = []
    return made


def filled(exporter, count=3, **settings):
    """Return a stream in front of the exporter with so many records."""
    made = stream(exporter, batches(**settings), Complaints())
    for record in range(count):
        made.put(record)
    return made


def test_a_batch_that_may_be_taken_later_goes_back_to_the_head():
    """What comes meanwhile stands behind it, nothing is lost, and the order stays."""
    exporter = refusing((True, None))
    waiting = filled(exporter, 3, batch_size=3)
    first = waiting.drain(soon(), everything=True)
    waiting.put("new")
    kept = list(waiting.queue)
    second = waiting.drain(soon(), everything=True)
    assert (False, [0, 1, 2, "new"], True, [0, 1, 2, "new"]) == (first, kept, second, exporter.records)


def test_a_batch_that_is_refused_for_good_is_dropped_and_counted():
    """The next one is sent at once."""
    exporter, complaints = refusing((False, None)), Complaints()
    both = stream(exporter, batches(batch_size=1), complaints)
    both.put("bad")
    both.put("good")
    both.drain(soon(), everything=True)
    assert (["good"], {("spans", "export_failed"): 1}) == (exporter.records, complaints.totals())


def test_nothing_is_sent_before_the_collector_wants_it():
    """A stream that waits is not ready, however full it is, and says when it will be."""
    waiting = filled(refusing((True, 60.0)), 3, batch_size=3)
    waiting.drain(soon(), everything=True)
    now = time.monotonic()
    assert (False, True, True) == (waiting.ready(now), waiting.due > now + 59, waiting.ready(waiting.due))


def test_a_stream_that_waits_does_not_wake_the_thread():
    """Thousands of records behind a dead collector cost no context switch each."""
    wakes = []
    waiting = Stream(
        "spans", batches(batch_size=2), lambda: refusing((True, 60.0)), lambda: wakes.append(1), Complaints()
    )
    waiting.put(0)
    waiting.drain(soon(), everything=True)
    waiting.ready(time.monotonic())
    for record in range(10):
        waiting.put(record)
    assert [] == wakes


def test_a_batch_that_comes_back_to_a_full_queue_loses_its_oldest():
    """The bound holds, and what is dropped is counted."""
    complaints = Complaints()
    exporter = refusing((True, None))
    full = stream(exporter, batches(queue_size=4, batch_size=4), complaints)
    for record in range(4):
        full.put(record)
    refuse = exporter.export

    def meanwhile(batch):
        for record in ("a", "b", "c"):
            full.put(record)
        return refuse(batch)

    exporter.export = meanwhile
    full.drain(soon(), everything=True)
    assert ([3, "a", "b", "c"], {("spans", "queue_full"): 3}) == (list(full.queue), complaints.totals())


def test_a_full_queue_drops_the_oldest():
    """What an outage leaves are the newest records."""
    complaints = Complaints()
    full = stream(Keeping(), batches(queue_size=3, batch_size=3), complaints)
    for record in range(5):
        full.put(record)
    assert ([2, 3, 4], {("spans", "queue_full"): 2}) == (list(full.queue), complaints.totals())


def test_heavy_records_fill_a_queue_sooner():
    """The bound by bytes: while nothing is taken, the oldest over the budget are dropped."""
    complaints = Complaints()
    heavy = Stream(
        "spans",
        batches(batch_size=100),
        lambda: refusing((True, 60.0)),
        lambda: None,
        complaints,
        weigh=len,
        budget=100_000,
    )
    for _ in range(1000):
        heavy.put("x" * 1000)
    heavy.drain(soon(), everything=True)
    heavy.ready(time.monotonic() + 2)
    assert (100, {("spans", "queue_full"): 900}) == (len(heavy.queue), complaints.totals())


def test_batches_that_are_sent_say_how_many_records_there_is_room_for():
    """What became heavy makes the queue shorter, what became light longer again."""
    sent = Stream("spans", batches(), Keeping, lambda: None, Complaints(), weigh=len, budget=1_000_000)
    rooms = []
    for size in [100, *[10_000] * 30, *[100] * 60]:
        for _ in range(50):
            sent.put("x" * size)
        sent.drain(soon(), everything=True)
        rooms.append(sent._room)
    assert (2048, True, 2048) == (rooms[0], 100 <= rooms[30] <= 102, rooms[-1])


def test_a_partial_success_counts_what_was_not_taken():
    """The rest is exported, and nothing is sent again."""

    class Partial(Keeping):
        def export(self, batch):
            watched().rejected, watched().message = 2, "too old"
            return super().export(batch)

    complaints, exporter = Complaints(), Partial()
    partial = stream(exporter, complaints=complaints)
    for record in range(5):
        partial.put(record)
    delivered = partial.drain(soon(), everything=True)
    assert (True, 3, {("spans", "rejected"): 2}, 1) == (
        delivered,
        partial.exported,
        complaints.totals(),
        len(exporter.batches),
    )


def test_the_deadline_of_a_drain_reaches_the_transport():
    """No request lasts longer than the flush that it is made for."""
    seen = []

    class Asking(Keeping):
        def export(self, batch):
            seen.append(watched().left(10.0))
            return super().export(batch)

    asked = stream(Asking())
    asked.put("a")
    asked.drain(soon(2.0), everything=True)
    assert 0 < seen[0] <= 2.0
