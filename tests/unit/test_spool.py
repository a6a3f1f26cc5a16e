"""The spool: what is written is sent by somebody, oldest first, once as a rule, within its bounds."""

from __future__ import annotations

import os
import stat
import time

import pytest
from tests.fresh import outcome, run
from tests.unit.spools import died, full_disk, taken

from otelfork.delivery import claims
from otelfork.delivery import segment as segment_module
from otelfork.delivery.claims import Claim


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


@pytest.mark.parametrize("room", [0, 4, 8, 20, 60])
def test_a_full_disk_leaves_the_spool_whole(opened, monkeypatch, room):
    """What could not be written is not in it, what was written is, and it is said why."""
    spool = opened()
    spool.put(1, 1, b"before")
    full_disk(monkeypatch, room)
    written = [spool.put(1, 1, b"x" * 100) for _ in range(3)]
    assert ([False] * 3, True, [b"before"]) == (written, "No space left" in spool.problem, taken(spool))


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
