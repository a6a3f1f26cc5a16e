"""The extra `system`: each process's own figures, the host's once, and the figures of the moment on local root spans."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otelfork import system
from otelfork.receiver import HTTP, Receiver
from otelfork.receiver.records import ReceivedPoint, ReceivedSpan
from otelfork.settings import Environment, SettingsError
from otelfork.settings.system import SystemSettings
from otelfork.system import figures as systemfigures
from otelfork.system import metrics as systemmetrics
from otelfork.system.figures import Figures, Sampler

PROGRAM = Path(__file__).parents[1] / "programs/system_fork.py"
FIGURES = {
    "system.cpu.usage",
    "system.cpu.time",
    "system.memory.usage",
    "system.memory.limit",
    "system.disk.io.bytes_read",
    "system.disk.io.bytes_written",
    "system.network.io.bytes_sent",
    "system.network.io.bytes_recv",
}


@dataclass(frozen=True)
class Forked:
    """What a parent and its child reported."""

    parent: int
    child: int
    points: list[ReceivedPoint]
    spans: list[ReceivedSpan]

    def total(self, name: str, pid: int) -> float:
        """Return the sum of a metric's last values in one process."""
        mine = [point for point in self.points if (point.name, point.resource["process.pid"]) == (name, pid)]
        last = {str(point.attributes): point for point in mine}
        return sum(point.value for point in last.values())

    def reporters(self, name: str) -> set[object]:
        """Return the pids that reported a metric."""
        return {point.resource["process.pid"] for point in self.points if point.name == name}


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with Receiver() as receiver:
        own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
        done = subprocess.run(
            [sys.executable, str(PROGRAM)],
            env={
                **own,
                **receiver.environment(HTTP),
                "OTELFORK_SYSTEM_METRICS": "true",
                "OTELFORK_SYSTEM_ATTRIBUTES": "true",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        receiver.wait_until_quiet()
        assert done.returncode == 0, done.stderr
        pids = dict(line.split() for line in done.stdout.splitlines())
        yield Forked(int(pids["parent"]), int(pids["child"]), receiver.points, receiver.spans)


def test_a_child_reports_its_own_figures(forked: Forked):
    """Not the processor time that its parent used before the fork."""
    assert forked.total("process.cpu.time", forked.parent) >= 1.0
    assert forked.total("process.cpu.time", forked.child) < 0.9


def test_a_child_s_garbage_collections_begin_at_zero(forked: Forked):
    """The parent's are the parent's."""
    assert forked.total("cpython.gc.collections", forked.parent) > 20
    assert forked.total("cpython.gc.collections", forked.child) < 20


def test_the_host_is_reported_by_one_process(forked: Forked):
    """Each process reports itself, the first of them the host too."""
    assert ({forked.parent, forked.child}, {forked.parent}) == (
        forked.reporters("process.memory.usage"),
        forked.reporters("system.cpu.time"),
    )


def test_connections_are_not_scanned_unless_asked(forked: Forked):
    """The scan takes 25 ms."""
    assert forked.reporters("system.network.connections") == set()


def test_local_root_spans_carry_the_figures(forked: Forked):
    """Parent and child; a span within another does not."""
    carried = {span.name: FIGURES & set(span.attributes) for span in forked.spans}
    assert (set(), True, True) == (carried["inner"], len(carried["parent"]) >= 4, len(carried["child"]) >= 4)


def test_a_span_with_a_remote_parent_is_a_local_root():
    """So is each request with a traceparent."""
    processor = Figures()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    span: Any = provider.get_tracer("t").start_span("s", context=set_span_in_context(NonRecordingSpan(remote)))
    provider.shutdown()
    assert span.attributes["system.memory.usage"] > 1_000_000


def test_a_sample_older_than_a_second_is_not_used(monkeypatch: pytest.MonkeyPatch):
    """Rather no figure than an old one."""
    processor = Figures()
    processor.shutdown()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    now = time.monotonic() + 60
    monkeypatch.setattr(systemfigures.time, "monotonic", lambda: now)
    span: Any = provider.get_tracer("t").start_span("s")
    assert dict(span.attributes) == {}


def test_the_sample_is_renewed(monkeypatch: pytest.MonkeyPatch):
    """By the process's own thread, not by a request."""
    monkeypatch.setattr(systemfigures, "PERIOD_SECONDS", 0.01)
    processor = Figures()
    processor.start()
    first, deadline = processor._sample, time.monotonic() + 10
    while processor._sample is first and time.monotonic() < deadline:
        time.sleep(0.01)
    processor.shutdown()
    assert processor._sample is not first


@pytest.mark.parametrize(("told", "expected"), [("1048576\n", 1048576), ("max\n", None)])
def test_the_limit_is_the_control_group_s(told: str, expected: int | None, tmp_path: Path):
    """Else the host's memory."""
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(told)
    limits = [Sampler(root).take()["system.memory.limit"] for root in (tmp_path, tmp_path / "none")]
    assert (expected or limits[1]) == limits[0]


def test_excluded_metrics_are_not_recorded(monkeypatch: pytest.MonkeyPatch):
    """OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS counts, and connections can be asked for."""
    monkeypatch.setenv("OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS", "system.cpu.*,process.*,cpython.*")
    made = systemmetrics.SystemMetrics(connections=True, reports_host=lambda: True)
    names = set(made._config)
    assert ({"system.network.connections"}, set()) == (
        names & {"system.network.connections"},
        {name for name in names if name.startswith(("system.cpu.", "process.", "cpython."))},
    )


def test_what_is_the_host_s_is_observed_only_when_asked_to():
    """The answer may change from one collection to the next."""
    answers = [True, False]
    made = systemmetrics.SystemMetrics(connections=False, reports_host=lambda: answers.pop(0))
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    callback = made._wrap("system.cpu.time", lambda options: [Observation(1)])
    provider.get_meter("m").create_observable_counter("system.cpu.time", [callback])
    assert (True, None) == (reader.get_metrics_data() is not None, reader.get_metrics_data())


def test_nothing_is_on_unless_asked():
    """Neither metrics nor attributes nor the scan."""
    assert SystemSettings() == SystemSettings.read(Environment({}))


def test_a_missing_extra_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """It names the extra."""
    monkeypatch.setenv("OTELFORK_SYSTEM_ATTRIBUTES", "true")
    monkeypatch.setitem(sys.modules, "otelfork.system.figures", None)
    with pytest.raises(SettingsError, match=r"otelfork\[system\]"):
        system.companions()
