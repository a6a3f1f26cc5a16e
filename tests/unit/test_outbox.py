"""The outbox: one thread that survives, keeps its deadlines, and can be parked."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from tests.fresh import run
from tests.unit.exporting import Hanging, Keeping, batches, outbox, soon, until

from otelfork.delivery.backoff import Backoff
from otelfork.delivery.outbox import Outbox


class Reading:
    """A metric reader that calls something when it is asked to collect."""

    def __init__(self, call=lambda: None):
        self.call = call
        self.collected = 0
        self.timeouts = []
        self.ended = 0
        self.backoff = Backoff()

    def collect_and_export(self, timeout):
        self.collected += 1
        self.timeouts.append(timeout)
        self.call()
        return True

    def shutdown(self):
        self.ended += 1


@pytest.fixture
def started():
    """Start outboxes, and stop them after the test."""
    boxes = []

    def start(box: Outbox) -> Outbox:
        boxes.append(box)
        box.start()
        return box

    yield start
    for box in boxes:
        box.stop(soon())


def test_a_full_batch_is_exported_at_once(started):
    """A batch that is full does not wait for the delay."""
    box, exporter = outbox(), Keeping()
    stream = box.stream("spans", batches(batch_size=3), lambda: exporter)
    started(box)
    until(lambda: stream.due > 0)
    for record in range(3):
        stream.put(record)
    assert until(lambda: exporter.batches) == [[0, 1, 2]]


def test_a_batch_that_is_not_full_leaves_after_the_delay(started):
    """Nothing waits longer than the delay."""
    box, exporter = outbox(), Keeping()
    stream = box.stream("spans", batches(delay=0.05), lambda: exporter)
    started(box)
    until(lambda: stream.due > 0)
    stream.put("a")
    assert until(lambda: exporter.records) == ["a"]


def test_metrics_are_collected_at_each_interval_within_their_timeout(started):
    """The interval and the timeout are those of the settings."""
    box, reader = outbox(metric_interval=0.02, metric_timeout=7.0), Reading()
    box.readers.append(reader)
    started(box)
    until(lambda: reader.collected >= 3)
    assert (True, {7}) == (reader.collected >= 3, {round(timeout) for timeout in reader.timeouts})


def test_a_flush_collects_first_and_exports_everything(started):
    """What a callback records while it is collected leaves with the same flush."""
    box, exporter = outbox(), Keeping()
    stream = box.stream("spans", batches(batch_size=2), lambda: exporter)
    box.readers.append(Reading(lambda: stream.put("of the callback")))
    started(box)
    until(lambda: stream.due > 0)
    stream.put("a")
    assert (True, ["a", "of the callback"]) == (box.flush(soon()), exporter.records)


def test_the_thread_binds_the_observables_before_anything_else(started):
    """A user's own reader collects without the outbox; what it observes is registered as soon as the thread runs."""
    prepared = threading.Event()
    box = outbox()
    box.prepare = prepared.set
    started(box)
    assert prepared.wait(10)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_the_thread_survives_what_an_exporter_raises(started, error):
    """Whatever an exporter raises, the next batch is exported."""
    box, exporter = outbox(), Keeping(error, None)
    stream = box.stream("spans", batches(), lambda: exporter)
    started(box)
    stream.put("a")
    until(lambda: exporter.batches or box.flush(soon()))
    stream.put("b")
    assert (True, [["a"], ["b"]]) == (until(lambda: box.flush(soon())), exporter.batches)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_the_thread_survives_what_preparing_raises(started, error):
    """Binding the observables may fail: the thread goes on to serve."""
    box, exporter = outbox(), Keeping()
    stream = box.stream("spans", batches(delay=0.01), lambda: exporter)
    failures = [error]

    def prepare():
        if failures:
            raise failures.pop()

    box.prepare = prepare
    started(box)
    stream.put("a")
    assert until(lambda: exporter.records) == ["a"]


def test_a_flush_keeps_its_deadline_while_an_exporter_hangs(started):
    """The caller is let go at the deadline, and told that not all was handed over."""
    box, exporter = outbox(), Hanging()
    stream = box.stream("spans", batches(), lambda: exporter)
    started(box)
    stream.put("a")
    began = time.monotonic()
    delivered = box.flush(soon(0.2))
    elapsed = time.monotonic() - began
    exporter.let_go.set()
    assert (False, True) == (delivered, elapsed < 5)


def test_a_stop_keeps_its_deadline_while_an_exporter_hangs(started):
    """The exit does not wait for a thread that hangs."""
    box, exporter = outbox(), Hanging()
    stream = box.stream("spans", batches(batch_size=1), lambda: exporter)
    started(box)
    stream.put("a")
    exporter.called.wait(10)
    began = time.monotonic()
    box.stop(soon(0.2))
    elapsed = time.monotonic() - began
    exporter.let_go.set()
    assert elapsed < 5


def test_a_flush_without_an_end_is_allowed(started):
    """Infinity is a timeout too; locks and queues would refuse it."""
    box, exporter = outbox(), Keeping()
    stream = box.stream("spans", batches(), lambda: exporter)
    started(box)
    stream.put("a")
    assert (True, ["a"]) == (box.flush(float("inf")), exporter.records)


def test_a_timeout_of_zero_is_no_limit(started):
    """A queue whose export timeout is infinite exports."""
    box, exporter = outbox(), Keeping()
    stream = box.stream("spans", batches(delay=0.01, timeout=float("inf")), lambda: exporter)
    started(box)
    stream.put("a")
    assert until(lambda: exporter.records) == ["a"]


def test_a_flush_asked_for_by_a_callback_is_refused_and_not_waited_for(started):
    """The exporter thread does not wait for itself; the outer flush goes on."""
    box, exporter, inner = outbox(), Keeping(), []
    stream = box.stream("spans", batches(), lambda: exporter)
    box.readers.append(Reading(lambda: inner.append(box.flush(soon()))))
    started(box)
    stream.put("a")
    assert (True, [False], ["a"]) == (box.flush(soon()), inner[:1], exporter.records)


def test_a_stop_asked_for_by_a_callback_does_not_join_itself(started):
    """A callback may shut telemetry down."""
    box = outbox()
    reader = Reading(lambda: box.stop(soon()))
    box.readers.append(reader)
    started(box)
    box.flush(soon())
    assert until(lambda: reader.ended) == 1


def test_a_stop_ends_thread_exporters_and_readers(started):
    """Nothing runs and nothing is open after a stop; an exporter that was never needed was never built."""
    box, used, unused, reader = outbox(), Keeping(), [], Reading()
    stream = box.stream("spans", batches(), lambda: used)
    box.stream("logs", batches(), lambda: unused.append("built"))
    box.readers.append(reader)
    started(box)
    stream.put("a")
    box.flush(soon())
    box.stop(soon())
    alive = [thread for thread in threading.enumerate() if thread is box._thread]
    assert ([], 1, 1, []) == (alive, used.ended, reader.ended, unused)


def test_an_exporter_that_fails_to_shut_down_leaves_the_others_their_turn(started, caplog):
    """One exception at the end does not keep the rest open."""

    class Sticky(Keeping):
        def shutdown(self):
            raise RuntimeError("stuck")

    box, reader = outbox(), Reading()
    stream = box.stream("spans", batches(), Sticky)
    box.readers.append(reader)
    started(box)
    stream.put("a")
    box.flush(soon())
    box.stop(soon())
    assert (1, True) == (reader.ended, "could not be shut down" in caplog.text)


def test_pausing_waits_for_the_export_under_way(started):
    """Between pause and resume nothing is exported."""
    box, exporter = outbox(), Hanging()
    stream = box.stream("spans", batches(batch_size=1), lambda: exporter)
    started(box)
    stream.put("a")
    exporter.called.wait(10)
    while_busy = box.pause(soon(0.02))
    exporter.let_go.set()
    parked = box.pause(soon())
    stream.put("b")
    while_parked = list(exporter.records)
    box.resume()
    assert (False, True, ["a"], True) == (
        while_busy,
        parked,
        while_parked,
        until(lambda: exporter.records == ["a", "b"]),
    )


def test_without_a_thread_the_flush_does_the_work(monkeypatch):
    """At interpreter exit no thread can be started (Python 3.12): the flush exports on the caller's."""

    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    box, exporter = outbox(), Keeping()
    stream = box.stream("spans", batches(), lambda: exporter)
    box.start()
    stream.put("a")
    assert (True, ["a"]) == (box.flush(soon()), exporter.records)


def test_without_a_thread_a_loss_is_said_too(caplog):
    """Whoever exports says what was lost."""
    box = outbox()
    stream = box.stream("spans", batches(), lambda: Keeping(OSError("refused")))
    stream.put("a")
    with caplog.at_level(logging.ERROR):
        delivered = box.flush(soon())
    assert (False, True) == (delivered, "1 spans (export_failed)" in caplog.text)


def test_a_flush_from_a_signal_handler_that_interrupts_a_flush_ends():
    """Both with the exporter thread and without one, where the main thread itself was exporting."""
    lines = run("""
        import signal
        class Interrupted(Spans):
            def export(self, batch, *args, **kwargs):
                if len(times) < 1:
                    times.append(1)
                    os.kill(os.getpid(), signal.SIGUSR1)
                    time.sleep(0.1)
                super().export(batch)
        def on_signal(number, frame):
            out("inner flush ended", otelfork.flush(1) in (True, False))
        signal.signal(signal.SIGUSR1, on_signal)
        for threaded in (True, False):
            times = []
            configure(exporters={"traces": [Interrupted], "metrics": [Points]})
            generation = forks.ensure()
            if not threaded:
                generation.outbox.stop(time.monotonic() + 5)
                generation.outbox._stopped = False
            span("s")
            out("outer flush", otelfork.flush(10))
        os._exit(0)
    """)
    assert sorted(["inner flush ended True", "outer flush True", "span s parent"] * 2) == sorted(lines)
