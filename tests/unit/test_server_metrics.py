"""The metrics of a server as a whole: of the run, told by one worker, exact whoever tells them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from tests import fresh

_TELLING = """
from otelfork import workers

class Server:
    '''Writes a line for each point of a resource that is no process's.'''
    def export(self, data, *args, **kwargs):
        for resource in data.resource_metrics:
            told = resource.resource.attributes
            if "process.pid" in told:
                continue
            assert "worker.id" not in told
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = getattr(point, "value", None)
                        value = [point.count, sum(point.bucket_counts)] if value is None else value
                        kind = metric.data.__class__.__name__ + str(getattr(metric.data, "is_monotonic", ""))
                        out(*told_of(told, metric, point), value, kind)
    def shutdown(self, *args, **kwargs): pass

def told_of(resource, metric, point):
    return [who(), metric.name, *point.attributes.values()]

def server(**more):
    configure(exporters={"traces": [], "metrics": [Server], "logs": []}, service_name="shop", **more)

def worker(work=lambda: None):
    '''Start a worker and return its pid, and what to write to for its end.'''
    reading, writing = os.pipe()
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        workers.begin("gunicorn"); workers.ready(); work()
        os.write(told, b"x")
        os.read(reading, 1)
        workers.end("recycled")
        otelfork.flush(10)
        os._exit(0)
    os.close(reading)
    os.read(ready, 1)
    return pid, writing

def ended(pid, writing):
    os.close(writing)
    os.waitpid(pid, 0)

def killed(pid, writing):
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    workers.departed(pid, status=status)
    os.close(writing)
"""


def run(script: str, tmp_path: Path, **environment: str) -> list[str]:
    """Run a script that plays a server, in a run of its own."""
    variables = {"OTELFORK_RUN_DIR": str(tmp_path / "run"), "OTEL_METRIC_EXPORT_INTERVAL": "3600000", **environment}
    return fresh.run(_TELLING + dedent(script), environment=variables)


def test_recycles_and_kills_are_counted_exactly(tmp_path: Path) -> None:
    """Every worker that began and every one that ended, whoever counted it, also when all of them are gone."""
    lines = run(
        """
        server()
        for _ in range(4):
            ended(*worker())
        first, second = worker(), worker()
        killed(*second)
        killed(*worker())
        ended(*first)
        """,
        tmp_path,
    )
    last = {}
    for line in lines:
        _, name, *rest, value, kind = line.split()
        last[(name, *rest)] = value, kind
    starts, exits = "gunicorn.worker.starts", "gunicorn.worker.exits"
    counted = {key: value for key, value in last.items() if key[0] in {starts, exits}}
    assert {
        (starts,): ("7", "SumTrue"),
        (exits, "recycled"): ("5", "SumTrue"),
        (exits, "SIGKILL"): ("2", "SumTrue"),
    } == counted


def test_the_living_workers_are_told_by_the_first_of_them(tmp_path: Path) -> None:
    """Busy and idle workers and their requests, once and not by each worker."""
    lines = run(
        """
        server()
        request = lambda: forks.current().board.begin(bytes(17), b"12345678", 1, time.time_ns(), b"GET /")
        flush = lambda: otelfork.flush(10)
        pids = [worker(lambda: None), worker(request), worker(lambda: (request(), request(), otelfork.flush(10)))]
        killed(*pids[0])
        pids[0] = worker(flush)
        for each in pids:
            killed(*each)
        """,
        tmp_path,
    )
    found = [line.split(maxsplit=1)[1] for line in lines if "gunicorn.workers" in line or "active" in line]
    assert [
        "gunicorn.workers busy 2 SumFalse",
        "gunicorn.workers idle 1 SumFalse",
        "gunicorn.requests.active 3 SumFalse",
    ] == found


def test_a_change_of_leader_goes_on_counting_from_the_runs_start(tmp_path: Path) -> None:
    """Counts have one start, the run's, whoever tells them; what is of the moment starts anew with who tells it."""
    lines = run(
        """
        server()
        told_of = lambda resource, metric, point: [metric.name, point.start_time_unix_nano]
        flush = lambda: otelfork.flush(10)
        ended(*worker(flush))
        ended(*worker(flush))
        """,
        tmp_path,
    )
    starts: dict[str, set[str]] = {}
    values: dict[str, list[int]] = {}
    for line in lines:
        name, start, *_, value, _ = line.replace(", ", ",").split()
        starts.setdefault(name, set()).add(start)
        if name == "gunicorn.worker.starts":
            values.setdefault(name, []).append(int(value))
    counted = (len(starts["gunicorn.worker.starts"]), len(starts["gunicorn.workers"]))
    assert ((1, 2), {"gunicorn.worker.starts": [1, 1, 2, 2]}) == (counted, values)


def test_the_run_has_an_id_of_its_own(tmp_path: Path) -> None:
    """The same from every worker of the run, no worker's; a user's own id is its prefix."""
    lines = run(
        """
        server(resource={"service.instance.id": "mine"})
        told_of = lambda resource, metric, point: [
            resource["service.instance.id"], resource["service.name"], workers.life.current().board.instance_id]
        ended(*worker())
        ended(*worker())
        """,
        tmp_path,
    )
    ids = {tuple(line.split()[:3]) for line in lines}
    ((run_id, service, own),) = ids
    assert ("mine/", True, "shop") == (run_id[:5], own not in run_id, service)


def test_differences_are_told_once_whoever_tells_them(tmp_path: Path) -> None:
    """With delta temporality the next leader goes on where the last one stopped."""
    lines = run(
        """
        server()
        flush = lambda: otelfork.flush(10)
        for _ in range(3):
            ended(*worker(flush))
        """,
        tmp_path,
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
    )
    told = [line.split() for line in lines if "worker.starts" in line or "worker.exits" in line]
    sums: dict[str, int] = {}
    for _, name, *_, value, _ in told:
        sums[name] = sums.get(name, 0) + int(value)
    assert {"gunicorn.worker.starts": 3, "gunicorn.worker.exits": 3} == sums


def test_the_time_to_boot_is_a_distribution(tmp_path: Path) -> None:
    """From the fork until the worker was ready, of all workers."""
    lines = run(
        """
        server()
        ended(*worker())
        ended(*worker(lambda: otelfork.flush(10)))
        """,
        tmp_path,
    )
    assert "child gunicorn.worker.boot.duration [2, 2] Histogram" == [each for each in lines if ".boot." in each][-1]


def test_a_process_that_is_no_worker_tells_nothing_of_the_server(tmp_path: Path) -> None:
    """The one line alone has no metrics more than before."""
    lines = run('server()\nreaped([forked(lambda: span("work"))])', tmp_path)
    assert [] == lines


def test_requests_without_a_row_are_a_metric(tmp_path: Path) -> None:
    """A kill would not show them, so how many there were is told."""
    lines = fresh.run(
        """
        configure()
        def work():
            forks.ensure()
            board = forks.current().board
            for number in range(1, 6):
                board.begin(bytes(17), b"%08d" % number, 1, time.time_ns(), b"GET /")
        reaped([forked(work)])
        """,
        environment={"OTELFORK_RUN_DIR": str(tmp_path / "run"), "OTELFORK_REQUEST_ROWS": "3"},
    )
    assert ["point otelfork.scoreboard.requests.missed 2 child"] == [line for line in lines if "missed" in line]
