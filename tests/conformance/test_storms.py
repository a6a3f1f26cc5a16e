"""Storms of 200 forks over a real collector: no child hangs, none is mute, and no record of the parent leaves twice.

The storms of 20 with exporters in memory are in `tests/unit/test_forks.py`. gRPC's own locks are not safe across a fork from a
process that is busy inside it: there the figure is measured, and not promised.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fresh import outcome

from otelfork.receiver import GRPC, HTTP, Receiver

Write = Callable[[dict[str, object]], None]
FORKS = int(os.environ.get("OTELFORK_TEST_FORKS", "200"))
PATIENCE = 10
"""Seconds after which a child counts as hung; its stacks are printed by then."""
BUSY = {
    "hot threads": """
        def hot():
            while True:
                record("hot")
                time.sleep(0.002)
        for _ in range(4):
            threading.Thread(target=hot, daemon=True).start()
    """,
    "an export over a slow collector": """
        def hot():
            while True:
                record("hot")
                time.sleep(0.005)
        threading.Thread(target=hot, daemon=True).start()
    """,
    "a slow observable callback": """
        def callback(options):
            time.sleep(0.03 if os.getpid() == MAIN else 0)
            return [metrics.Observation(1)]
        metrics.get_meter("m").create_observable_gauge("g", [callback])
        record("hot")
    """,
    "a flush": """
        def flushing():
            while True:
                record("hot")
                otelfork.flush(5)
        for _ in range(2):
            threading.Thread(target=flushing, daemon=True).start()
    """,
}
PROGRAM = """
import itertools
from opentelemetry._logs import LogRecord
signal.alarm(0)  # the parent's deadline is the test's; each child has one of its own
otelfork.configure()
tracer, logger = trace.get_tracer("t"), get_logger("l")
counter, histogram = metrics.get_meter("m").create_counter("c"), metrics.get_meter("m").create_histogram("h")
numbers = itertools.count()

def record(name):
    number = next(numbers)
    span(f"{name} {os.getpid()} {number}", tracer)
    counter.add(1)
    histogram.record(1)
    logger.emit(LogRecord(body=f"{name} {os.getpid()} {number}"))
"""
STORM = """
time.sleep(0.3)
hung = failed = 0
for number in range({forks}):
    pid = os.fork()
    if pid == 0:
        signal.alarm({patience})
        try:
            record("child")
            done = otelfork.flush({patience})
        except BaseException as error:
            out("error", repr(error))
            os._exit(4)
        os._exit(0 if done else 3)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        hung += 1
    elif status:
        failed += 1
out("hung", hung, "failed", failed)
out("repeated", forks.current().outbox.tries.repeated)
os._exit(0)
"""
ENVIRONMENT = {
    "OTEL_BSP_SCHEDULE_DELAY": "5",
    "OTEL_BLRP_SCHEDULE_DELAY": "5",
    "OTEL_METRIC_EXPORT_INTERVAL": "10",
}


Storm = tuple[str, int, Counter[str], Counter[str], str]


def storm(busy: str, receiver: Receiver, protocol: str, folder: str) -> Storm:
    """Run a storm; return what the parent counted of its children and of its own broken off exports, what came, and the stacks."""
    script = PROGRAM + _left(BUSY[busy]) + STORM.format(forks=FORKS, patience=PATIENCE)
    environment = {**ENVIRONMENT, **receiver.environment(protocol), "OTELFORK_RUN_DIR": folder}
    status, lines, errors = outcome(script, deadline=280, environment=environment)
    assert status == 0, errors
    receiver.wait_until_quiet()
    spans, logs = Counter(span.name for span in receiver.spans), Counter(str(log.body) for log in receiver.logs)
    told, repeated = lines[-2:]
    return told, int(repeated.removeprefix("repeated ")), spans, logs, errors


def _left(block: str) -> str:
    return "\n".join(line[8:] for line in block.splitlines()) + "\n"


def of_children(found: Counter[str]) -> Counter[str]:
    """Return the records of the children alone."""
    return Counter({name: count for name, count in found.items() if name.startswith("child")})


def written(busy: str, protocol: str, told: str, repeated: int, spans: Counter[str]) -> dict[str, object]:
    """Return the figures for the report."""
    figures = {"storm": busy, "protocol": protocol, "forks": FORKS, "told": told, "arrived": len(of_children(spans))}
    return {"row": f"storm during {busy}", **figures, "repeated": repeated}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("busy", BUSY)
def test_no_child_of_a_storm_hangs_or_is_mute(busy: str, tmp_path: Path, write_result: Write):
    """Over http: 200 forks, 200 spans and log records of 200 children, each record of anybody once."""
    with Receiver(delay=0.03 if "slow collector" in busy else 0.0) as receiver:
        told, repeated, spans, logs, errors = storm(busy, receiver, HTTP, str(tmp_path / "run"))
        counted = {p.resource["process.pid"] for p in receiver.points if p.name == "c"}
    write_result(written(busy, HTTP, told, repeated, spans))
    twice = [name for found in (spans, logs) for name, count in found.items() if count > 1]
    assert ("hung 0 failed 0", FORKS, FORKS, FORKS, []) == (
        told,
        len(of_children(spans)),
        len(of_children(logs)),
        len(counted) - 1,
        twice,
    ), errors[-4000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("busy", BUSY)
def test_a_storm_over_grpc_is_measured(busy: str, tmp_path: Path, write_result: Write):
    """The figure goes into the report, the stacks into the test's output. What leaves twice is the parent's, and counted."""
    with Receiver(delay=0.03 if "slow collector" in busy else 0.0) as receiver:
        told, repeated, spans, logs, errors = storm(busy, receiver, GRPC, str(tmp_path / "run"))
    write_result(written(busy, GRPC, told, repeated, spans))
    more = sum(count - 1 for found in (spans, logs) for count in found.values())
    twice = [name for found in (spans, logs) for name, count in of_children(found).items() if count > 1]
    print(told, len(of_children(spans)), "repeated", more, "counted", repeated, errors[-6000:])
    assert ([], True) == (twice, more <= repeated)
