"""The spool: what is written is sent by somebody, oldest first, once as a rule, within its bounds."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.fresh import outcome, run
from tests.unit.exporting import Keeping, batches, soon, until

from otelfork.delivery import claims
from otelfork.delivery import segment as segment_module
from otelfork.delivery.claims import Claim
from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outcome import watched
from otelfork.delivery.spool import Spool
from otelfork.exporters import spooling
from otelfork.exporters.spooling import SpooledStream, Writer
from otelfork.receiver import ALWAYS, Faults, Receiver

PROTOCOLS = ("http/protobuf", "grpc")
DEAD = """
    import os, sys
    from pathlib import Path
    from otelfork.delivery.spool import Spool
    spool = Spool(Path({directory!r}), "shop", max_bytes={max_bytes}, max_age=1000, lost=print)
    for number in range({count}):
        spool.put(1, 1, b"batch %d" % number)
    {more}
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def directory(tmp_path):
    """A directory that does not exist yet."""
    return tmp_path / "spool"


@pytest.fixture
def opened(directory):
    """Make spools and close them after the test."""
    made, spools_lost = [], {}

    def make(service="shop", *, max_bytes=1 << 20, max_age=1000.0, where=directory):
        lost = Counter()

        def note(kind, reason, count):
            lost[reason] += count

        spool = Spool(where, service, max_bytes=max_bytes, max_age=max_age, lost=note)
        made.append(spool)
        spools_lost[id(spool)] = lost
        return spool

    make.lost = spools_lost
    yield make
    for spool in made:
        spool.close()


def died(directory, count=3, more="", max_bytes=1 << 20):
    """Let a process write so many batches of one record each and be killed."""
    script = DEAD.format(directory=str(directory), count=count, more=more, max_bytes=max_bytes)
    status, _, errors = outcome(script, recording=False)
    assert status == -signal.SIGKILL, errors


def taken(spool, count=1000):
    """Take and settle everything; return the batches in order."""
    found = []
    while (load := spool.take(1, count, 1 << 20)) is not None:
        found += load.packed
        spool.settle(load)
    return found


def test_what_is_put_is_taken_oldest_first_and_gone_when_it_was_accepted(opened):
    """A load holds what fits; settled, it does not come again."""
    spool = opened()
    for number in range(5):
        spool.put(1, 10, b"batch %d" % number)
    load = spool.take(1, 30, 1 << 20)
    spool.settle(load)
    assert ([b"batch 0", b"batch 1", b"batch 2"], [b"batch 3", b"batch 4"], 0) == (
        load.packed,
        taken(spool),
        spool.waiting(1),
    )


def test_a_load_that_was_not_taken_comes_again(opened):
    """A try that failed costs nothing."""
    spool = opened()
    spool.put(1, 1, b"a")
    spool.keep(spool.take(1, 10, 1 << 20))
    assert ([b"a"], 0) == (taken(spool), spool.repeated)


def test_kinds_do_not_mix(opened):
    """Logs do not wait for spans."""
    spool = opened()
    spool.put(1, 1, b"span")
    spool.put(2, 1, b"log")
    load = spool.take(2, 10, 1 << 20)
    assert ([b"log"], 1, 1) == (load.packed, spool.waiting(1), spool.waiting(2))


def test_the_files_are_small_when_all_is_delivered(opened, directory):
    """Nothing grows while the collector takes everything."""
    spool = opened()
    for _ in range(100):
        spool.put(1, 1, b"x" * 1000)
        taken(spool)
    assert len(segment_module.MAGIC) == sum(path.stat().st_size for path in directory.glob("*.spool"))


def test_what_a_killed_process_left_is_found_by_a_survivor(opened, directory):
    """Oldest first, each batch once, and no file of it is left."""
    died(directory)
    spool = opened()
    spool.adopt()
    found = taken(spool)
    assert ([b"batch 0", b"batch 1", b"batch 2"], 3, []) == (found, spool.inherited, list(directory.iterdir()))


def test_a_last_look_finds_who_was_killed_a_moment_ago(opened, directory):
    """A survivor that leaves within the second of its last look takes along what the dead one left."""
    died(directory)
    spool = opened()
    spool._look_at = time.monotonic() + 60  # it has just looked
    spool.adopt()
    before = spool.waiting(1)
    spool.adopt(last=True)
    assert (0, 3) == (before, spool.waiting(1))


def test_a_batch_that_was_under_way_is_sent_again_and_counted(opened, directory):
    """It may have arrived: nobody knows but the collector."""
    died(directory, more="spool.take(1, 1, 1000)")
    spool = opened()
    spool.adopt()
    assert (3, 1) == (len(taken(spool)), spool.repeated)


def test_what_was_accepted_before_the_kill_is_not_sent_again(opened, directory):
    """A settled batch is done for everybody."""
    died(directory, more="spool.settle(spool.take(1, 2, 1000))")
    spool = opened()
    spool.adopt()
    assert ([b"batch 2"], 0) == (taken(spool), spool.repeated)


def test_the_files_of_the_living_are_left_alone(opened):
    """Neither those of another process nor, in this one, those of another generation."""
    one, other = opened(), opened()
    one.put(1, 1, b"a")
    other.adopt()
    assert (0, [b"a"]) == (other.waiting(1), taken(one))


def test_the_files_of_another_living_process_are_left_alone(directory):
    """A child looks while its parent lives, and does not find what its parent wrote."""
    lines = run(
        f"""
        from pathlib import Path
        from otelfork.delivery.spool import Spool
        def made():
            return Spool(Path({str(directory)!r}), "shop", max_bytes=100_000, max_age=1000, lost=print)
        mine = made()
        mine.put(1, 1, b"a")
        def child():
            other = made()
            other.adopt()
            out("child", other.waiting(1))
        reaped([forked(child)])
        mine.settle(mine.take(1, 1, 1000))
        out("parent", mine.waiting(1))
        os._exit(0)
        """
    )
    assert ["child 0", "parent 0"] == lines


def test_an_orphan_of_the_dead_does_not_keep_its_lock(opened, directory):
    """A child that outlives its killed parent holds nothing of it."""
    script = f"""
        from pathlib import Path
        from otelfork.delivery.spool import Spool
        spool = Spool(Path({str(directory)!r}), "shop", max_bytes=100_000, max_age=1000, lost=print)
        spool.put(1, 1, b"a")
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(write)
            os.close(1); os.close(2)
            time.sleep(20)
            os._exit(0)
        os.kill(os.getpid(), 9)
    """
    outcome(script)
    spool = opened()
    spool.adopt()
    assert [b"a"] == taken(spool)


def test_another_services_batches_are_not_ours(opened, directory):
    """They go where that service sends."""
    died(directory)
    spool = opened("another")
    spool.adopt()
    assert (0, 2) == (spool.waiting(1), len(list(directory.iterdir())))


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_write_that_was_cut_off_is_skipped(opened, directory, cut):
    """What stands before it is sent, and what was written after it too."""
    died(directory)
    (path,) = directory.glob("*.spool")
    os.truncate(path, path.stat().st_size - cut)
    spool = opened()
    spool.adopt()
    assert [b"batch 0", b"batch 1"] == taken(spool)


@pytest.mark.parametrize("offset", range(8, 8 + 28 + 7))
def test_a_broken_byte_costs_one_batch(opened, directory, offset):
    """Whichever byte it is: the others arrive whole, and what is not what was written never does."""
    died(directory)
    (path,) = directory.glob("*.spool")
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x55
    path.write_bytes(content)
    spool = opened()
    spool.adopt()
    found = taken(spool)
    # The state is not under the checksum: it is written over. Two bytes are padding.
    harmless = offset in {12, 14, 15}
    assert ([b"batch 0"] if harmless else []) + [b"batch 1", b"batch 2"] == found


def test_a_full_spool_gives_up_the_oldest(opened, directory):
    """The bound holds, the newest are kept, the others are counted."""
    spool = opened(max_bytes=64_000)
    for number in range(200):
        spool.put(1, 1, b"%03d" % number + b"x" * 1000)
    used = sum(path.stat().st_size for path in directory.glob("*.spool"))
    kept = taken(spool)
    assert (True, b"199", 200) == (used <= 64_000, kept[-1][:3], len(kept) + opened.lost[id(spool)]["spool_full"])


def test_what_is_too_old_is_given_up_and_counted(opened, directory):
    """Nobody wants to see it any more."""
    died(directory)
    spool = opened(max_age=0.0)
    spool.adopt()
    assert ([], {"spool_expired": 3}) == (taken(spool), dict(opened.lost[id(spool)]))


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_a_directory_that_others_may_enter_is_refused(opened, directory, mode):
    """Telemetry is nobody else's business."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(OSError, match="mode 0700"):
        opened()


def test_directory_and_files_are_private(opened, directory):
    """0700 and 0600, whatever the umask."""
    opened().put(1, 1, b"a")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert (0o700, {0o600}) == (stat.S_IMODE(directory.stat().st_mode), modes)


def test_a_lock_file_that_was_removed_meanwhile_is_no_claim(directory):
    """Two survivors: the one that comes second finds nothing to take."""
    directory.mkdir()
    path = directory / "shop-1.lock"
    claim = Claim.take(path, make=True)
    claim.release(remove=True)
    with pytest.raises(FileNotFoundError):
        Claim.take(path)


def full_disk(monkeypatch, room):
    """Let the disk take so many bytes more."""
    left = [room]
    write = os.pwrite

    def pwrite(file, content, offset):
        if len(content) > 1 and left[0] < len(content):
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content, left[0] = content[: left[0]], 0
        elif len(content) > 1:
            left[0] -= len(content)
        return write(file, content, offset)

    monkeypatch.setattr(segment_module.os, "pwrite", pwrite)


@pytest.mark.parametrize("room", [0, 4, 8, 20, 60])
def test_a_full_disk_leaves_the_spool_whole(opened, monkeypatch, room):
    """What could not be written is not in it, what was written is, and it is said why."""
    spool = opened()
    spool.put(1, 1, b"before")
    full_disk(monkeypatch, room)
    written = [spool.put(1, 1, b"x" * 100) for _ in range(3)]
    assert ([False] * 3, True, [b"before"]) == (written, "No space left" in spool.problem, taken(spool))


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
        lines = run(
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
        assert (["True"], expected) == (lines, Counter(span.name for span in receiver.spans))


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


@pytest.mark.parametrize(("age", "left"), [(0.0, 1), (1000.0, 3)])
def test_what_services_that_never_come_back_left_is_removed(opened, directory, age, left):
    """Whoever runs next in the directory keeps the age limit for all; younger files are left to their service."""
    died(directory)
    time.sleep(0.01)
    spool = opened("another service", max_age=age)
    spool.put(1, 1, b"own")
    spool.adopt()
    assert left == len(list(directory.glob("*.spool"))) + len(list(directory.glob("*.lock"))) - 1


def test_a_master_knows_whether_dead_workers_left_something(opened, directory):
    """It looks, and leaves the files to whoever sends them."""
    before = claims.left_behind(directory, "shop")
    died(directory)
    found = claims.left_behind(directory, "shop"), claims.left_behind(directory, "another service")
    assert (False, (True, False), 3) == (before, found, len(taken_by(opened())))


def taken_by(spool):
    """Adopt and take everything."""
    spool.adopt()
    return taken(spool)


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
