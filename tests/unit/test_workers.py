"""The life of a worker: its span from start to end, what a master notes, its gauges, and when all that is recorded."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from tests import fresh

from otelfork import workers
from otelfork.settings import SettingsError
from otelfork.settings.environment import Environment
from otelfork.settings.workers import WorkerSettings

pytest.importorskip("psutil")

_TELLING = """
from otelfork import exits, workers

class Told:
    '''Writes what matters of a worker's span, and of the figures of workers.'''
    def export(self, batch, *args, **kwargs):
        for span in getattr(batch, "__iter__", lambda: ())():
            told = {k: v for k, v in span.attributes.items() if k not in ("worker.pid", "otelfork.worker.last_heartbeat")}
            out(span.name, span.attributes["worker.pid"] == span.resource.attributes["process.pid"], sorted(told.items()),
                [event.name for event in span.events], span.status.status_code.name)
    def shutdown(self, *args, **kwargs): pass

configure(exporters={"traces": [Told], "metrics": [Points], "logs": []})
"""


def run(script: str, tmp_path: Path, **environment: str) -> list[str]:
    """Run a script that tells of workers, in a run of its own."""
    return fresh.run(_TELLING + dedent(script), environment={"OTELFORK_RUN_DIR": str(tmp_path / "run"), **environment})


def identity(reason: str, generation: int = 1, slot: int = 0, **more: object) -> list[tuple[str, object]]:
    """Return the attributes of a worker's span but its pid."""
    own = {"worker.id": slot, "worker.generation": generation, "worker.exit.reason": reason, **more}
    return sorted(own.items())


EVENTS = ["worker.start", "worker.shutdown"]


def test_a_workers_span_lasts_from_its_start_to_its_end(tmp_path: Path) -> None:
    """It has pid, slot, generation, the reason, and both events; a second begin or end changes nothing."""
    lines = run(
        """
        def work():
            workers.begin("gunicorn"); workers.begin("uwsgi"); workers.ready()
            workers.end("recycled"); workers.end("stopped")
        reaped([forked(work)])
        """,
        tmp_path,
    )
    spans = [line for line in lines if line.startswith("gunicorn.worker ")]
    assert [f"gunicorn.worker True {identity('recycled')} {EVENTS} UNSET"] == spans


def test_a_successor_in_the_slot_is_the_next_generation(tmp_path: Path) -> None:
    """`worker.id` is the slot, `worker.generation` how many processes have had it."""
    lines = run(
        """
        def work():
            workers.begin("gunicorn"); workers.end("recycled")
        for _ in range(3):
            reaped([forked(work)])
        """,
        tmp_path,
    )
    spans = [line for line in lines if line.startswith("gunicorn.worker ")]
    assert [f"gunicorn.worker True {identity('recycled', each)} {EVENTS} UNSET" for each in (1, 2, 3)] == spans


@pytest.mark.parametrize("how", ["SIGKILL", "timeout", "exit code 3", "unknown"])
def test_a_killed_workers_span_is_finished_by_a_survivor(tmp_path: Path, how: str) -> None:
    """With its own ids and pid, status Error, and the reason that the master noted."""
    lines = run(
        f"""
        how = {how!r}
        workers.supervise()
        pid = os.fork()
        if pid == 0:
            workers.begin("gunicorn", own_id=4)
            os._exit(3) if "code" in how else os.kill(os.getpid(), signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        workers.departed(pid, status=None if how == "unknown" else status, timed_out=how == "timeout")
        reaped([forked(lambda: forks.ensure())])
        """,
        tmp_path,
    )
    told = identity(how, **{"error.type": how, "otelfork.recovered": True, "gunicorn.worker.id": 4})
    assert [f"gunicorn.worker True {told} {EVENTS} ERROR"] == [each for each in lines if "gunicorn.worker " in each]


def test_the_kill_of_a_worker_in_a_request_has_its_reason_on_both(tmp_path: Path) -> None:
    """`error.type` of a recovered request says what only the master knew."""
    lines = fresh.run(
        """
        from otelfork import workers
        class Kinds:
            def export(self, batch, *args, **kwargs):
                for span in batch:
                    out(span.name, span.attributes["error.type"])
            def shutdown(self): pass
        configure(exporters={"traces": [Kinds], "metrics": [], "logs": []})
        pid = os.fork()
        if pid == 0:
            workers.begin("gunicorn")
            forks.current().board.begin(bytes(16) + b"1", b"12345678", 1, time.time_ns(), b"GET /slow")
            os.kill(os.getpid(), signal.SIGSEGV)
        workers.departed(pid, status=os.waitpid(pid, 0)[1])
        reaped([forked(lambda: forks.ensure())])
        """,
        environment={"OTELFORK_RUN_DIR": str(tmp_path / "run")},
    )
    assert ["GET SIGSEGV", "gunicorn.worker SIGSEGV"] == sorted(lines)


def test_a_master_that_notes_deaths_builds_nothing(tmp_path: Path) -> None:
    """No thread, no socket, no generation, no open file: it goes on forking clean (what is left at its end it sends then)."""
    lines = run(
        """
        workers.supervise()
        pid = os.fork()
        if pid == 0:
            workers.begin("gunicorn")
            os._exit(3)
        status = os.waitpid(pid, 0)[1]
        before = sorted(os.listdir("/proc/self/fd"))
        workers.departed(pid, status=status)
        out(threads(), sockets(), forks.current(), sorted(os.listdir("/proc/self/fd")) == before)
        """,
        tmp_path,
    )
    assert "[] 0 None True" == lines[0]


def test_the_gauges_are_the_workers_own(tmp_path: Path) -> None:
    """A worker with 60 MB more than its master says so; the processor time is that since its own start."""
    lines = run(
        """
        import psutil
        class Gauges:
            def export(self, data, *args, **kwargs):
                for resource in data.resource_metrics:
                    for scope in resource.scope_metrics:
                        for metric in scope.metrics:
                            for point in metric.data.data_points:
                                if metric.name == "gunicorn.worker.memory.rss":
                                    out("rss", point.value > parent + 50_000_000, metric.unit, metric.data.__class__.__name__,
                                        point.attributes["worker.pid"] == os.getpid(), point.attributes["worker.id"])
                                if metric.name == "gunicorn.worker.cpu.percent":
                                    out("cpu", 0 <= point.value, metric.unit, point.attributes["worker.pid"] == os.getpid())
            def shutdown(self, *args, **kwargs): pass
        configure(exporters={"traces": [], "metrics": [Gauges], "logs": []})
        parent = psutil.Process().memory_info().rss
        def work():
            workers.begin("gunicorn")
            work.kept = b"x" * 60_000_000
        reaped([forked(work)])
        """,
        tmp_path,
        OTEL_GUNICORN_TRACE_WORKERS="true",
    )
    assert ["cpu True % True", "rss True By Gauge True 0"] == sorted(lines)


def test_without_the_variable_there_are_no_gauges(tmp_path: Path) -> None:
    """The reference's default is false."""
    lines = run('reaped([forked(lambda: workers.begin("gunicorn"))])', tmp_path)
    assert [] == [line for line in lines if ".cpu." in line or ".rss" in line]


def test_a_child_of_a_worker_tells_nothing_as_a_worker(tmp_path: Path) -> None:
    """It neither ends its parent's span nor shows gauges of its parent's."""
    lines = run(
        """
        def grandchild():
            workers.end("stopped")
            span("work")
        def work():
            workers.begin("gunicorn")
            reaped([forked(grandchild)])
            workers.end("recycled")
        Told.export = lambda self, batch: [out(span.name, who()) for span in batch]
        reaped([forked(work)])
        """,
        tmp_path,
        OTEL_GUNICORN_TRACE_WORKERS="true",
    )
    assert ["gunicorn.worker child", "work child"] == sorted(line for line in lines if not line.startswith("point"))


@pytest.mark.parametrize(
    ("wanted", "gauges", "attached", "asked"),
    [
        ("", "", True, False),
        ("", "true", True, True),
        ("true", "", True, True),
        ("false", "", False, False),
        ("false", "true", False, False),
    ],
)
def test_who_has_worker_telemetry(tmp_path: Path, wanted: str, gauges: str, attached: bool, asked: bool) -> None:
    """Who attached otelfork to a server has it unless OTELFORK_WORKERS=false, who wrapped an application if a variable asks."""
    variables = {"OTELFORK_WORKERS": wanted, "OTEL_GUNICORN_TRACE_WORKERS": gauges}
    lines = run('reaped([forked(lambda: workers.begin("gunicorn"))])', tmp_path, **variables)
    spans = [line for line in lines if line.startswith("gunicorn.worker ")]
    found = WorkerSettings.read(Environment(variables))
    assert (attached, asked) == (bool(spans), found.asked_for)


def test_attached_to_all_servers_everyone_begins_unless_forbidden(monkeypatch) -> None:
    """Zero code has worker telemetry like the instrumentor; OTELFORK_WORKERS=false takes it away."""
    begun: list[str] = []
    scout = workers.recruiting.Scout(lambda: begun.append("prepared"), lambda: begun.append("began"))
    monkeypatch.setattr(workers.recruiting, "_scouts", [scout])
    monkeypatch.setattr(workers.recruiting, "_everyone", False)
    for begins, wanted in ((False, ""), (True, ""), (True, "false")):
        monkeypatch.setenv("OTELFORK_WORKERS", wanted)
        workers.everyone(begins=begins)
        workers.prepare()
        workers.volunteer()
    assert ["prepared", "began"] == begun


def test_a_setting_that_is_no_boolean_is_refused() -> None:
    """By name, as every other."""
    with pytest.raises(SettingsError, match="OTELFORK_WORKERS"):
        WorkerSettings.read(Environment({"OTELFORK_WORKERS": "maybe"}))


def test_gauges_without_their_extra_are_refused(monkeypatch) -> None:
    """Early, by the variable, with the extra's name; without the variable nothing is missing."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    workers.check()
    monkeypatch.setenv("OTEL_GUNICORN_TRACE_WORKERS", "true")
    with pytest.raises(SettingsError, match=r"OTEL_GUNICORN_TRACE_WORKERS.*otelfork\[gunicorn\]"):
        workers.check()


def test_an_end_that_nobody_explains_is_told_as_such(tmp_path: Path) -> None:
    """At exit a worker ends its span by itself: after SIGTERM as stopped, else as exited."""
    lines = run(
        """
        def work():
            workers.begin("gunicorn")
            if told:
                os.kill(os.getpid(), signal.SIGTERM)
            exits.leave()
        for told in (False, True):
            pid = os.fork()
            if pid == 0:
                work()
                os._exit(0)
            os.waitpid(pid, 0)
        """,
        tmp_path,
    )
    told = [line for line in lines if line.startswith("gunicorn.worker ")]
    assert [
        f"gunicorn.worker True {identity(how, n)} {EVENTS} UNSET" for n, how in ((1, "exited"), (2, "stopped"))
    ] == told


@pytest.mark.parametrize(
    ("status", "timed_out", "expected"),
    [
        (signal.SIGKILL, False, "SIGKILL"),
        (signal.SIGABRT, True, "timeout"),
        (3 << 8, False, "exit code 3"),
        (0, False, "exit code 0"),
        (62, False, "signal 62"),
        (None, False, "unknown"),
    ],
)
def test_how_it_ended_is_told_in_one_word(status: int | None, timed_out: bool, expected: str) -> None:
    """Timeout, signal name, exit code, or unknown."""
    assert expected == workers.masters.how_it_ended(status, timed_out=timed_out)
