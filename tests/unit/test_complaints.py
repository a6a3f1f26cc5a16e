"""Complaints: counted by reason at once, said at most once a minute, the exporters' own noise reduced to one line."""

from __future__ import annotations

import logging
import threading

import pytest

from otelfork.delivery import complaints as module
from otelfork.delivery.complaints import Complaints


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def said(caplog):
    """Return the lines of log that tell of losses."""
    return [record.getMessage() for record in caplog.records if "telemetry lost" in record.getMessage()]


def test_drops_are_counted_by_signal_and_reason():
    """Reading the figures does not change them."""
    complaints = Complaints()
    for _ in range(3):
        complaints.dropped("spans", "queue_full")
    complaints.failed("logs", object(), 5, [])
    first = complaints.totals()
    assert ({("spans", "queue_full"): 3, ("logs", "export_failed"): 5}, first) == (first, complaints.totals())


def test_no_drop_is_miscounted_by_many_threads():
    """Counting takes no lock and loses nothing."""
    complaints = Complaints()

    def drop():
        for _ in range(5000):
            complaints.dropped("spans", "queue_full")

    threads = [threading.Thread(target=drop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {("spans", "queue_full"): 40_000} == complaints.totals()


def test_the_first_loss_is_said_at_once_and_the_next_after_a_minute(clock, caplog):
    """Each line tells what is new since the last; in between there is silence."""
    complaints = Complaints()
    complaints.dropped("spans", "queue_full")
    complaints.say()
    complaints.dropped("spans", "queue_full")
    complaints.dropped("spans", "queue_full")
    clock.now += 59
    complaints.say()
    quiet = len(said(caplog))
    clock.now += 2
    complaints.say()
    assert (1, ["1 spans (queue_full)", "2 spans (queue_full)"]) == (
        quiet,
        [line.split(": ")[1].split(";")[0] for line in said(caplog)],
    )


def test_nothing_lost_is_nothing_said(clock, caplog):
    """No news is no line, however often it is asked."""
    complaints = Complaints()
    for _ in range(3):
        complaints.say()
        clock.now += 100
    assert [] == said(caplog)


def test_a_line_names_the_exporter_and_its_reason(clock, caplog):
    """The last thing the exporter said is the reason."""
    complaints = Complaints()
    complaints.failed("spans", object(), 1, ["retrying", "no luck today"])
    complaints.say()
    assert "object: no luck today" in said(caplog)[0]


@pytest.fixture
def noisy():
    """An exporter class of the standard packages' kind, and its logger."""
    name = "opentelemetry.exporter.noisy_for_tests"
    logger = logging.getLogger(name)
    kind = type("NoisyExporter", (), {"__module__": name})
    yield kind(), logger
    logger.filters.clear()


def test_an_exporters_warnings_are_heard_and_not_logged(noisy, caplog):
    """While it works for us, its warnings and errors are the reason; what it says below that passes."""
    exporter, logger = noisy
    logger.setLevel(logging.DEBUG)
    with Complaints().listening(exporter) as heard:
        logger.debug("detail")
        logger.error("Transient error %s", 503)
    assert (["Transient error 503"], ["detail"]) == (heard, [record.getMessage() for record in caplog.records])


def test_the_same_exporter_is_loud_outside_of_our_calls(noisy, caplog):
    """A user's own pipeline with the same exporter logs as ever, on this thread before and after, on others meanwhile."""
    exporter, logger = noisy
    with Complaints().listening(exporter):
        other = threading.Thread(target=logger.error, args=("of another thread",))
        other.start()
        other.join()
    logger.error("afterwards")
    assert ["of another thread", "afterwards"] == [record.getMessage() for record in caplog.records]


def test_a_child_does_not_listen_for_its_parents_thread(noisy, caplog, monkeypatch):
    """Thread numbers repeat in a child: a listener that was inherited hears nothing there."""
    exporter, logger = noisy
    with Complaints().listening(exporter) as heard:
        monkeypatch.setattr(module.os, "getpid", lambda: -1)
        logger.error("in the child")
        monkeypatch.undo()
    assert ([], ["in the child"]) == (heard, [record.getMessage() for record in caplog.records])


def test_an_advice_is_the_one_line_of_its_minute(clock, caplog):
    """What a dead collector costs: neither a second guess nor the account of the losses follows at once."""
    complaints = Complaints()
    complaints.failed("spans", object(), 1, ["connection refused"])
    complaints.failed("logs", object(), 1, ["timed out"])
    complaints.say()
    lines = [record.getMessage() for record in caplog.records]
    clock.now += 61
    complaints.say()
    assert (1, True, ["1 logs (export_failed), 1 spans (export_failed)"]) == (
        len(lines),
        "nothing listens" in lines[0],
        [line.split(": ")[1].split(";")[0] for line in said(caplog)],
    )


def logged(caplog):
    """Return all lines of log."""
    return [record.getMessage() for record in caplog.records]


def test_a_short_outage_is_not_worth_a_line_and_a_long_one_is_worth_one_a_minute(clock, caplog):
    """A collector that restarts is everyday life; one that stays away is said, not each try of it."""
    complaints = Complaints()
    for tries in (1, 2, 3):
        complaints.delayed(object(), ["the collector answers 503"], tries=tries)
    short = len(logged(caplog))
    for tries in range(4, 9):
        complaints.delayed(object(), ["the collector answers 503"], tries=tries)
    clock.now += 61
    complaints.delayed(object(), ["the collector answers 503"], tries=9)
    line = "telemetry waits, and is tried again: object: the collector answers 503"
    assert (0, [line, line]) == (short, logged(caplog))


def test_what_a_collector_rejects_is_counted_and_said(clock, caplog):
    """Partial success: the collector's own words are the reason."""
    complaints = Complaints()
    complaints.rejected("spans", object(), 2, "too old")
    complaints.say()
    assert ({("spans", "rejected"): 2}, True) == (complaints.totals(), "object: too old" in said(caplog)[0])


def test_a_warning_of_the_collector_is_passed_on_once(clock, caplog):
    """It took everything and has something to say."""
    complaints = Complaints()
    for _ in range(3):
        complaints.rejected("spans", object(), 0, "deprecated")
    complaints.say()
    assert ["the collector took all spans and says: deprecated"] == logged(caplog)


def test_a_flush_that_did_not_deliver_is_said(clock, caplog):
    """At an exit it is the last line about what is lost."""
    complaints = Complaints()
    complaints.undelivered({"spans": 3, "logs": 0})
    assert ["not delivered before the deadline: 3 spans; no time left"] == logged(caplog)


def test_reading_from_several_threads_miscounts_nothing():
    """The metric and the log line read the same figures."""
    complaints = Complaints()

    def drop_and_read():
        for _ in range(2000):
            complaints.dropped("spans", "queue_full")
            complaints.totals()

    threads = [threading.Thread(target=drop_and_read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {("spans", "queue_full"): 8000} == complaints.totals()


def test_what_failed_first_is_told_and_not_that_the_interpreter_ends(clock, caplog):
    """gRPC wants a thread for another try, and Python 3.12 starts none while it ends: that is not what is wrong."""
    complaints = Complaints()
    complaints.delayed(object(), ["StatusCode.UNAVAILABLE: connection refused"], tries=1)
    complaints.failed("spans", object(), 3, ["RuntimeError: can't create new thread at interpreter shutdown"])
    complaints.say()
    assert (True, False) == ("nothing listens at the endpoint" in caplog.text, "interpreter" in caplog.text)
