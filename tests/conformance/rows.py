"""The server table: every way to run an application that the project promises to keep true, as plain data.

A row says what to start and what to expect; it must not know how a test drives it. `{python}`, `{uwsgi}`,
`{programs}`, `{bin}`, `{port}` and `{requests}` in a command are filled in when it is started; it runs in a scratch
folder with `application` on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FLASK, FASTAPI, PROGRAMS = "examples/flask", "examples/fastapi", "tests/programs"
CLEAN, KILLED = "clean", "killed"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run an application.

    `driver` is `http` (requests over loopback, then SIGTERM) or `program` (it makes the requests itself and
    ends). `exit_class` is `clean` where Python code runs on the way out, else `killed`. `make test` runs the
    rows that are not `slow`. `stop_idle`: SIGTERM waits for the workers to be idle, because uWSGI runs no exit
    code in one that is still between the last byte of a response and its log line.
    """

    name: str
    command: tuple[str, ...]
    application: str
    driver: str = "http"
    preload: bool = False
    slow: bool = True
    exit_class: str = CLEAN
    exit_status: int = 0
    stop_idle: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    note: str = ""

    @property
    def work_span(self) -> str:
        """The span that the application makes in each request with its module-level tracer."""
        return "work" if self.application == PROGRAMS else "read shelf"

    @property
    def work_counter(self) -> str:
        """The counter that the application adds 1 to in each request."""
        return "app.work" if self.application == PROGRAMS else "shop.shelf.reads"


def _gunicorn(worker: str, application: str, *options: str, name: str = "", note: str = "") -> list[Row]:
    """Return the two rows of a gunicorn worker class; the one with preload is a main row."""
    command = (
        "{python}",
        "-m",
        "gunicorn",
        "--bind",
        "127.0.0.1:{port}",
        "--workers",
        "3",
        "--worker-class",
        worker,
    )
    name = f"gunicorn {name or worker}"
    return [
        Row(
            name=f"{name} --preload",
            command=(*command, *options, "--preload", "app:app"),
            application=application,
            preload=True,
            slow=worker.startswith("uvicorn."),
            note=note,
        ),
        Row(name=name, command=(*command, *options, "app:app"), application=application, note=note),
    ]


def _uwsgi(name: str, *options: str, preload: bool = True, slow: bool = True, note: str = "") -> Row:
    command = (
        "{uwsgi}",
        "--http-socket",
        "127.0.0.1:{port}",
        "--master",
        "--processes",
        "3",
        "--enable-threads",
    )
    command += ("--die-on-term", "--need-app", *options, "--module", "app:app")
    return Row(
        name=f"uwsgi {name}",
        command=command,
        application=FLASK,
        preload=preload,
        slow=slow,
        stop_idle=True,
        note=note,
    )


def _program(name: str, file: str, *arguments: str, slow: bool = True) -> Row:
    command = ("{python}", f"{{programs}}/{file}", *arguments, "{requests}")
    return Row(name=name, command=command, application=PROGRAMS, driver="program", slow=slow)


_UVICORN = ("{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2")
_GRANIAN = ("{python}", "-m", "granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2")
_HYPERCORN = ("{python}", "-m", "hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "2")

_RUN, _INSTRUMENT = ("{bin}/otelfork", "run"), ("{bin}/opentelemetry-instrument",)
_NO_CODE = {
    "gunicorn": ("gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3"),
    "uwsgi": (
        *("uwsgi", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3"),
        *("--enable-threads", "--die-on-term", "--need-app"),
    ),
    "uvicorn": ("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2"),
    "hypercorn": ("hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "2"),
    "granian": ("granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2"),
}


def _zero(way: tuple[str, ...], server: str, *options: str, slow: bool = True, note: str = "") -> Row:
    """Return a row without a line of code: an application that knows nothing of otelfork, started through a command."""
    command, *rest = _NO_CODE[server]
    words = [*options[:-1], options[-1].partition(":")[0]]
    return Row(
        name=" ".join((" ".join(way).replace("{bin}/", ""), server, *words)).replace("{programs}/", ""),
        command=(*way, f"{{bin}}/{command}", *rest, *options),
        application=PROGRAMS,
        slow=slow,
        stop_idle=server == "uwsgi",
        note=note,
    )


ZERO: tuple[Row, ...] = (
    _zero(_RUN, "gunicorn", "plain_wsgi:app", slow=False),
    _zero(_RUN, "gunicorn", "--preload", "plain_wsgi:app"),
    _zero(_RUN, "gunicorn", "--worker-class", "gevent", "plain_wsgi:app"),
    _zero(_RUN, "gunicorn", "--worker-class", "asgi", "plain_asgi:app"),
    _zero(_RUN, "gunicorn", "--worker-class", "uvicorn_worker.UvicornWorker", "plain_asgi:app"),
    _zero(_RUN, "uwsgi", "--module", "plain_wsgi:app", slow=False),
    _zero(_RUN, "uwsgi", "--wsgi-file", "{programs}/plain_wsgi.py"),
    _zero(_RUN, "uwsgi", "--lazy-apps", "--module", "plain_wsgi"),
    _zero(
        *(_RUN, "uwsgi", "--single-interpreter", "--manage-script-name"),
        *("--mount", "/items=plain_wsgi:app", "--mount", "/else={programs}/plain_wsgi.py"),
        note="uWSGI shows Python the last mount only",
    ),
    _zero(_RUN, "uvicorn", "plain_asgi:app", slow=False),
    _zero(_RUN, "uvicorn", "--interface", "wsgi", "plain_wsgi:app"),
    _zero(_RUN, "hypercorn", "plain_asgi:app"),
    _zero(_RUN, "hypercorn", "plain_wsgi:app"),
    _zero(_RUN, "granian", "--interface", "asgi", "plain_asgi:app"),
    _zero(_RUN, "granian", "--interface", "wsgi", "plain_wsgi:app"),
    _zero(_INSTRUMENT, "gunicorn", "plain_wsgi:app"),
    _zero(_INSTRUMENT, "uwsgi", "--module", "plain_wsgi:app"),
    _zero(_INSTRUMENT, "uvicorn", "plain_asgi:app", slow=False),
    _zero((*_RUN, *_INSTRUMENT), "uvicorn", "plain_asgi:app", note="one inside the other counts once"),
    _zero((*_INSTRUMENT, *_RUN), "uvicorn", "plain_asgi:app", note="one inside the other counts once"),
    _zero(_RUN, "gunicorn", "wsgi_app:app", note="the application has the one line too"),
    _zero(_RUN, "uvicorn", "asgi_app:app", note="the application has the one line too"),
)
"""The same servers on applications that know nothing of otelfork, but for the last two."""

ROWS: tuple[Row, ...] = (
    *_gunicorn("sync", FLASK),
    *_gunicorn("gthread", FLASK, "--threads", "4"),
    *_gunicorn("gevent", FLASK),
    *_gunicorn("asgi", FASTAPI, note="gunicorn's own asgi worker"),
    *_gunicorn("uvicorn_worker.UvicornWorker", FASTAPI, name="uvicorn worker"),
    *_gunicorn(
        "uvicorn.workers.UvicornWorker",
        FASTAPI,
        name="uvicorn.workers (deprecated)",
        note="uvicorn 0.54 still has it, with a warning",
    ),
    Row(
        name="gunicorn sync --preload --max-requests 40",
        command=(
            *("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3", "--preload"),
            *("--max-requests", "40", "app:app"),
        ),
        application=FLASK,
        preload=True,
        note="workers are recycled while requests arrive",
    ),
    _uwsgi("default", slow=False, note="forks in C: no at-fork hook of Python runs"),
    Row(
        name="gunicorn sync --preload, warmed up",
        command=(
            *("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "3", "--preload"),
            "warm_wsgi_app:app",
        ),
        application=PROGRAMS,
        preload=True,
        note="the application records a span while the master imports it",
    ),
    Row(
        name="uwsgi default, warmed up",
        command=(
            *("{uwsgi}", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3", "--enable-threads"),
            *("--die-on-term", "--need-app", "--module", "warm_wsgi_app:app"),
        ),
        application=PROGRAMS,
        preload=True,
        stop_idle=True,
        note="the application records a span while the master imports it; its fork in C runs no hook",
    ),
    _uwsgi("--lazy-apps", "--lazy-apps", preload=False),
    _uwsgi("--py-call-uwsgi-fork-hooks", "--py-call-uwsgi-fork-hooks"),
    _uwsgi("--py-call-osafterfork", "--py-call-osafterfork", note="the child's at-fork hooks only"),
    Row("uvicorn --workers", (*_UVICORN, "app:app"), FASTAPI, slow=False),
    Row(
        name="uvicorn --workers --lifespan off",
        command=(*_UVICORN, "--lifespan", "off", "asgi_app:app"),
        application=PROGRAMS,
        note="neither lifespan nor atexit: what Django on uvicorn gets",
    ),
    Row(
        name="uvicorn --workers --interface wsgi",
        command=(*_UVICORN, "--interface", "wsgi", "app:app"),
        application=FLASK,
        note="neither lifespan nor atexit, and the requests run in other threads",
    ),
    Row(
        name="uvicorn --interface wsgi",
        command=(*_UVICORN[:-2], "--interface", "wsgi", "app:app"),
        application=FLASK,
        exit_status=-15,
        note="a single process raises SIGTERM once more when it has served",
    ),
    Row("hypercorn", (*_HYPERCORN, "app:app"), FASTAPI, slow=False),
    Row("granian wsgi", (*_GRANIAN, "--interface", "wsgi", "app:app"), FLASK),
    Row("granian asgi", (*_GRANIAN, "--interface", "asgi", "app:app"), FASTAPI, slow=False),
    _program("multiprocessing fork", "multiprocessing_workers.py", "fork", slow=False),
    _program("multiprocessing forkserver", "multiprocessing_workers.py", "forkserver"),
    _program("multiprocessing spawn", "multiprocessing_workers.py", "spawn"),
    _program("ProcessPoolExecutor", "process_pool.py", "fork"),
    _program("celery prefork", "celery_prefork.py", slow=False),
    _program("os.fork", "os_fork.py", "1", slow=False),
    _program("os.fork nested", "os_fork.py", "2"),
    *ZERO,
)

PROTOCOLS = ("http/protobuf", "grpc")
