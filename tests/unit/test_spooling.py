"""Streams in front of a spool: records are on disk soon, and whoever sends them, they arrive, once as a rule."""

from __future__ import annotations

import signal
import threading
from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.fresh import outcome, run
from tests.unit.exporting import Keeping, batches, soon, until
from tests.unit.spools import full_disk, taken

from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outcome import watched
from otelfork.exporters import spooling
from otelfork.exporters.spooling import SpooledStream, Writer
from otelfork.receiver import ALWAYS, Faults, Receiver

PROTOCOLS = ("http/protobuf", "grpc")


class Parcels(Keeping):
    """Keeps what is in the parcels; refuses `refusals` times for a reason that passes."""

    def __init__(self, refusals=0):
        super().__init__()
        self.refusals = refusals

    def export(self, batch):
        if self.refusals:
            self.refusals -= 1
            watched().passing = True
            raise ConnectionError("refused")
        return super().export([batch.packed] if hasattr(batch, "packed") else batch)


def spooled(spool, exporter, interval=0.01, **settings):
    """Return a stream in front of this spool, whose records are bytes."""
    writer = Writer(spool, interval)
    return SpooledStream(
        "spans", batches(**settings), lambda: exporter, lambda: None, Complaints(), writer=writer, pack=b"".join
    )


def test_a_record_is_on_disk_soon_without_any_export(opened):
    """The thread that writes does not wait for the one that sends."""
    spool = opened()
    stream = spooled(spool, Parcels())
    stream.put(b"a")
    assert until(lambda: spool.waiting(1)) == 1


def test_a_drain_sends_what_is_on_disk_and_what_is_queued(opened):
    """In order, in one request while it fits."""
    exporter = Parcels()
    stream = spooled(opened(), exporter, interval=1000.0)
    stream.put(b"a")
    stream.write_ahead()
    stream.put(b"b")
    delivered = stream.drain(soon(), everything=True)
    assert (True, [b"ab"], 0) == (delivered, exporter.records, stream.waiting)


def test_an_outage_is_waited_out_on_disk(opened):
    """Far more records than the queue holds, and none of them in memory."""
    exporter, spool = Parcels(refusals=1), opened()
    stream = spooled(spool, exporter, interval=1000.0, queue_size=10, batch_size=10)
    stream.put(b"0")
    first = stream.drain(soon(), everything=True)
    for _ in range(100):
        stream.put(b"x")
        stream.write_ahead()
    in_memory = len(stream.queue)
    second = stream.drain(soon(), everything=True)
    assert (False, 0, True, b"0" + b"x" * 100) == (first, in_memory, second, b"".join(exporter.records))


def test_a_full_disk_costs_nothing_while_the_collector_takes_it(opened, monkeypatch):
    """What cannot be written is sent from memory."""
    exporter, spool = Parcels(), opened()
    stream = spooled(spool, exporter, interval=1000.0)
    full_disk(monkeypatch, 0)
    stream.put(b"a")
    assert (True, [b"a"]) == (stream.drain(soon(), everything=True), exporter.records)


def test_a_stream_that_ends_leaves_its_records_to_the_next(opened):
    """A shutdown behind a dead collector loses nothing."""
    exporter = Parcels(refusals=ALWAYS)
    stream = spooled(opened(), exporter, interval=1000.0)
    stream.put(b"a")
    stream.drain(soon(), everything=True)
    stream.put(b"b")
    stream.shutdown()
    heir = opened()
    heir.adopt()
    assert [b"a", b"b"] == taken(heir)


def test_requests_behind_each_other_are_one_request(opened):
    """The encoding's own law that a load relies on: repeated fields of joined messages are joined."""
    one, other = ExportTraceServiceRequest(), ExportTraceServiceRequest()
    one.resource_spans.add().schema_url = "a"
    other.resource_spans.add().schema_url = "b"
    joined = ExportTraceServiceRequest.FromString(one.SerializeToString() + other.SerializeToString())
    assert ["a", "b"] == [each.schema_url for each in joined.resource_spans]


RECORD = """
    from opentelemetry._logs import LogRecord
    otelfork.configure(service_name="shop")
    logger = get_logger("l")
    def record(name):
        span(name)
        logger.emit(LogRecord(body=name))
    def written(count):
        deadline = time.monotonic() + 10
        spool = forks.current().outbox.streams[0]._spool
        while spool.waiting(1) + spool.waiting(2) < count and time.monotonic() < deadline:
            time.sleep(0.005)
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_killed_process_loses_nothing_that_was_written(directory, protocol):
    """Spans and logs of a process that was killed arrive from the next one, with the dead one's pid and their own ids."""
    with Receiver(refuse=ALWAYS) as receiver:
        environment = {**receiver.environment(protocol), "OTELFORK_SPOOL_DIR": str(directory)}
        status, lines, errors = outcome(
            RECORD + "    record('of the dead')\n    written(2)\n    out(os.getpid())\n    os.kill(os.getpid(), 9)",
            environment=environment,
        )
        assert (-signal.SIGKILL, 0) == (status, len(receiver.spans)), errors
        receiver.faults = Faults()
        run(RECORD + "    record('of the next')\n    out(otelfork.flush(10))\n    os._exit(0)", environment=environment)
        spans = [(span.name, str(span.resource["process.pid"]) == lines[0]) for span in receiver.spans]
        expected = [("of the dead", True), ("of the next", False)]
        assert (expected, ["of the dead", "of the next"]) == (spans, [log.body for log in receiver.logs])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_outage_ends_with_everything_delivered_once(directory, protocol):
    """A collector that refuses for a while gets all of it when it takes it again."""
    with Receiver(refuse=3) as receiver:
        environment = {
            **receiver.environment(protocol),
            "OTELFORK_SPOOL_DIR": str(directory),
            "OTEL_BSP_SCHEDULE_DELAY": "10",
        }
        run(
            RECORD
            + "    for n in range(30):\n        record(str(n))\n        time.sleep(0.01)\n"
            + "    out(otelfork.flush(20))\n    os._exit(0)",
            environment=environment,
        )
        assert sorted(map(str, range(30))) == sorted(span.name for span in receiver.spans)


def test_without_a_spool_nothing_is_written(tmp_path):
    """Off unless set."""
    with Receiver() as receiver:
        lines = run(
            RECORD + "    record('a')\n    otelfork.flush(10)\n"
            "    out(type(forks.current().outbox.streams[0]).__name__, 'otelfork.delivery.spool' in sys.modules)\n    os._exit(0)",
            environment=receiver.environment("http/protobuf"),
        )
    assert lines[0].startswith("Stream")


def test_public_names_only_means_no_spool(directory):
    """The fallback: the standard exporters take no bytes, so nothing is written and everything is sent."""
    with Receiver() as receiver:
        lines = run(
            RECORD + "    record('a')\n    out(otelfork.flush(10), type(forks.current().outbox.streams[0]).__name__)\n"
            "    os._exit(0)",
            environment={
                **receiver.environment("http/protobuf"),
                "OTELFORK_SPOOL_DIR": str(directory),
                "OTELFORK_PUBLIC_NAMES_ONLY": "true",
            },
        )
        assert (["True Stream"], ["a"]) == (lines, [span.name for span in receiver.spans])


@pytest.mark.parametrize("fork", ["os.fork", "c_fork"])
def test_a_child_writes_files_of_its_own(directory, fork):
    """Each record arrives once, and each process closes what is not its own.

    `os.fork` while the parent writes and sends. A fork in C from a parent whose threads are quiet: one that waits for the
    interpreter's lock at that moment leaves the child a condition variable of CPython that nobody signals.
    """
    quiet = fork == "c_fork"
    with Receiver() as receiver:
        status, lines, errors = outcome(
            RECORD
            + f"""
    for number in range(10):
        span(f"parent {{number}}")
        {"otelfork.flush(20)" if quiet else ""}
        reaped([forked(lambda: span(f"child {{number}}"), {fork})])
    out(otelfork.flush(20))
    os._exit(0)
            """,
            environment={
                **receiver.environment("http/protobuf"),
                "OTELFORK_SPOOL_DIR": str(directory),
                "OTEL_BSP_SCHEDULE_DELAY": "60000" if quiet else "5",
            },
        )
        expected = Counter(f"{who} {number}" for who in ("parent", "child") for number in range(10))
        arrived = Counter(span.name for span in receiver.spans)
        assert (0, ["True"], expected) == (status, lines, arrived), errors


def test_a_thread_that_the_system_refuses_is_asked_for_again(opened, monkeypatch):
    """Where none can be started for a while nothing is written ahead; the next record after that lets all be written."""
    written = SpooledStream(
        "spans", batches(), Keeping, lambda: None, Complaints(), writer=Writer(opened(), 0.01), pack=lambda batch: b"x"
    )
    start = threading.Thread.start

    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(spooling, "_START_SECONDS", 0.0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    written.put("a")
    monkeypatch.setattr(threading.Thread, "start", start)
    written.put("b")
    done = until(lambda: not written.queue)
    written.shutdown()
    assert done


def test_the_last_master_sends_what_its_workers_left(directory):
    """It has recorded nothing itself; a worker was killed after it had written, and there is no sibling and no next start."""
    with Receiver() as receiver:
        lines = run(
            """
            otelfork.configure()
            pid = os.fork()
            if pid == 0:
                span("of the worker")
                deadline = time.monotonic() + 20
                while not any(path.stat().st_size > 8 for path in SPOOL.glob("*.spool")) and time.monotonic() < deadline:
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(pid, 0)
            out(threads(), forks.current())
            """.replace("SPOOL", f"__import__('pathlib').Path({str(directory)!r})"),
            environment={
                **receiver.environment(),
                "OTELFORK_SPOOL_DIR": str(directory),
                "OTEL_BSP_SCHEDULE_DELAY": "60000",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
            },
        )
        receiver.wait_until_quiet()
        arrived = [span.name for span in receiver.spans]
    assert (["[] None"], ["of the worker"]) == (lines, arrived)
