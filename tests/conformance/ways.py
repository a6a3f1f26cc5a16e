"""The exit table: every way out of a process that the project promises something about, as plain data.

A way says which server to start, how it is made to leave while requests run, and of which class its end is (design,
invariant 5). It must not know how a test does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.conformance.rows import CLEAN, KILLED, PROGRAMS, Row

NOTHING, RELOAD, STOP, INTERRUPT = "nothing", "reload", "stop", "interrupt"
KILL, ABORT_TWICE, WAIT, BUSY_STOP = "kill", "abort twice", "wait", "busy stop"


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of one server.

    `act` is what is done in the middle of the load: `nothing` (the server's own options end workers), a `reload` (SIGHUP), a
    `stop` (SIGTERM) or an `interrupt` (SIGINT) of the whole server, a `kill` (SIGKILL) or two SIGABRT of the worker that is
    busy with a request to `hold`, a `wait` for what the server does to that worker, a `stop` of the server while it is busy.
    `hold` is the path of the request that is running then. `drops` says that the server itself may break off requests.
    """

    server: str
    name: str
    command: tuple[str, ...]
    act: str = NOTHING
    application: str = PROGRAMS
    driver: str = "http"
    exit_class: str = CLEAN
    exit_status: int = 0
    hold: str = ""
    idle: bool = False
    drops: bool = False
    slow: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def row(self) -> Row:
        """The row that `serving` starts."""
        return Row(
            name=f"{self.server}: {self.name}",
            command=self.command,
            application=self.application,
            driver=self.driver,
            environment=self.environment,
        )


_GUNICORN = ("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3", "--worker-class")
_UVICORN = ("{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}")
_GRANIAN = ("{python}", "-m", "granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2")
_GRANIAN += ("--respawn-failed-workers",)
_HYPERCORN = ("{python}", "-m", "hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "2")
_UWSGI = ("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3", "--enable-threads")
_UWSGI += ("--need-app", "--module", "leaving_wsgi:app")
_WSGI, _ASGI = "leaving_wsgi:app", "leaving_asgi:app"


def _gunicorn(worker: str, application: str, *options: str, name: str = "") -> Iterator[Way]:
    server = f"gunicorn {name or worker}"
    command = (*_GUNICORN, worker, *options, application)
    recycling = (*_GUNICORN, worker, *options, "--max-requests", "40", application)
    main = worker == "sync"
    drops = worker != "sync"
    yield Way(server, "recycling (--max-requests)", recycling, slow=not main, drops=drops)
    yield Way(server, "reload (HUP)", command, RELOAD, drops=drops)
    yield Way(server, "graceful stop under load", command, STOP, drops=True)
    # Idle: a successor that has not set up its signals yet swallows SIGTERM, and gunicorn waits graceful_timeout for it.
    yield Way(server, "SIGKILL of a worker", command, KILL, exit_class=KILLED, hold="/hold", idle=True, slow=not main)


def _servers() -> Iterator[Way]:
    yield from _gunicorn("sync", _WSGI)
    yield from _gunicorn("sync", _WSGI, "--preload", name="sync --preload")
    yield from _gunicorn("gthread", _WSGI, "--threads", "4")
    yield from _gunicorn("gevent", _WSGI)
    yield from _gunicorn("asgi", _ASGI)
    yield from _gunicorn("uvicorn_worker.UvicornWorker", _ASGI, name="uvicorn worker")
    sync = (*_GUNICORN, "sync", _WSGI)
    yield Way("gunicorn sync", "second SIGABRT", sync, ABORT_TWICE, exit_class=KILLED, hold="/hold")
    yield Way("uvicorn", "stop under load", (*_UVICORN, _ASGI), STOP, drops=True, exit_status=-15)
    yield Way("uvicorn", "SIGINT under load", (*_UVICORN, _ASGI), INTERRUPT, drops=True)
    workers = (*_UVICORN, "--workers", "2", _ASGI)
    yield Way("uvicorn --workers", "stop under load", workers, STOP, drops=True)
    yield Way("uvicorn --workers", "reload (HUP)", workers, RELOAD, drops=True)
    yield Way("uvicorn --workers", "SIGKILL of a worker", workers, KILL, exit_class=KILLED, hold="/hold")
    recycling = (*_UVICORN, "--workers", "2", "--limit-max-requests", "40", _ASGI)
    yield Way("uvicorn --workers", "recycling (--limit-max-requests)", recycling, drops=True)
    bare = (*_UVICORN, "--workers", "2", "--lifespan", "off", _ASGI)
    yield Way("uvicorn --workers --lifespan off", "stop under load", bare, STOP, drops=True)
    django = (*_UVICORN, "--workers", "2", "leaving_django:app")
    yield Way("uvicorn --workers, Django", "stop under load", django, STOP, drops=True)
    yield Way("hypercorn", "stop under load", (*_HYPERCORN, _ASGI), STOP, drops=True)
    yield Way(
        "hypercorn", "SIGKILL of a worker", (*_HYPERCORN, _ASGI), KILL, exit_class=KILLED, hold="/hold", drops=True
    )
    for interface, application in (("wsgi", _WSGI), ("asgi", _ASGI)):
        command = (*_GRANIAN, "--interface", interface, application)
        server = f"granian {interface}"
        yield Way(server, "stop under load", command, STOP, drops=True)
        # Told to stop while it starts a successor, granian 2.8.7 waits for that one for ever: hence idle, here and below.
        yield Way(server, "reload (HUP)", command, RELOAD, idle=True, drops=True)
        yield Way(server, "SIGKILL of a worker", command, KILL, exit_class=KILLED, hold="/hold", idle=True)


def _uwsgi() -> Iterator[Way]:
    stop = (*_UWSGI, "--die-on-term")
    for server, options in (("uwsgi default", ()), ("uwsgi --lazy-apps", ("--lazy-apps",))):
        recycling = (*stop, *options, "--max-requests", "40")
        yield Way(server, "recycling (--max-requests)", recycling, idle=True)
        yield Way(server, "reload (HUP)", (*stop, *options), RELOAD, idle=True, drops=True)
        yield Way(server, "die-on-term, idle", (*stop, *options), idle=True, slow=bool(options))
        yield Way(server, "SIGKILL of a worker", (*stop, *options), KILL, exit_class=KILLED, hold="/hold", idle=True)
        harakiri = (*stop, *options, "--harakiri", "2")
        yield Way(server, "harakiri", harakiri, WAIT, exit_class=KILLED, hold="/hold", idle=True)
        yield Way(server, "die-on-term, busy", (*stop, *options), BUSY_STOP, exit_class=KILLED, hold="/hold")


def _program(server: str, name: str, file: str, *arguments: str, status: int = 0, slow: bool = True) -> Way:
    command = ("{python}", f"{{programs}}/{file}", *arguments)
    return Way(server, name, command, driver="program", exit_status=status, slow=slow)


def _programs() -> Iterator[Way]:
    for name, status in (("return", 0), ("sys.exit", 3), ("exception", 1), ("SIGTERM", -15), ("SIGINT", -2)):
        yield _program("script", name, "leave.py", name, "{requests}", status=status, slow=name != "SIGTERM")
    for name in ("SIGTERM", "SIGINT"):
        yield _program(
            "script", f"{name}, over a handler of its own", "leave.py", f"{name} handler", "{requests}", status=7
        )
    yield _program("script", "SIGINT, default action", "leave.py", "SIGINT default", "{requests}", status=-2)
    for method in ("fork", "forkserver"):
        yield _program("multiprocessing.Process", method, "multiprocessing_workers.py", method, "{requests}")
        yield _program("ProcessPoolExecutor", method, "process_pool.py", method, "{requests}")
        for end in ("close", "recycle"):
            yield _program("multiprocessing.Pool", f"{method}, {end}", "pool.py", method, end, "{requests}")
    for method in ("fork", "forkserver"):
        yield _program("multiprocessing.Pool", f"{method}, terminate", "pool.py", method, "terminate", "{requests}")
    yield _program(
        "celery prefork",
        "recycling (worker_max_tasks_per_child)",
        "celery_prefork.py",
        "{requests}",
        "--max-tasks-per-child",
        "20",
    )


WAYS: tuple[Way, ...] = (*_servers(), *_uwsgi(), *_programs())
