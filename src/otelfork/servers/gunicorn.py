"""gunicorn: where a worker starts and ends, whose death its arbiter sees, and the application that it loads.

gunicorn's hooks belong to the user's configuration file, so methods of its classes are wrapped: `Worker.init_process` (every worker
class has to call it), `Arbiter.spawn_worker` and `reap_workers`, and the same of the dirty arbiter (gunicorn 25 and later).
In a worker its own `run` is replaced, on that one object: all signals are set up by then, the application is loaded and the user's
hooks were called, so providers that they have set win. It must not know how a request is recorded.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from otelfork import bootstrap, exits, workers
from otelfork.middleware import switch_off, use_names
from otelfork.request import naming
from otelfork.run import runs
from otelfork.servers import applications
from otelfork.servers.seams import Seams
from otelfork.settings.run import announce_run

SERVER = "gunicorn"
_CORE = "gunicorn.arbiter"
_DIRTY = "gunicorn.dirty.arbiter"
_logger = logging.getLogger("otelfork")


class _Attachment:
    """What this program does with gunicorn. Children have what their arbiter had at the fork."""

    def __init__(self) -> None:
        self.seams = Seams()
        self.requests = False
        self.names: naming.Names | None = None
        self.options: dict[str, Any] = {}
        self.prepared = 0
        """The master that has been prepared to fork."""
        self.undo: list[Callable[[], object]] = []
        """What was done to the one worker object of this process."""


_here = _Attachment()


def attach(*, requests: bool = True, names: naming.Names | None = None, **options: Any) -> None:
    """Watch gunicorn's workers from their start to their end. Twice is as good as once.

    In a worker that runs already, or loads its application just now, what can still be reached is done at once.

    Args:
        requests: whether to trace the application that gunicorn loads, too.
        names: a second set of names for the requests that its workers serve.
        options: those of `OtelMiddleware`, for that application.

    Raises:
        ImportError: gunicorn is not installed.
        AttributeError: it is a gunicorn whose classes are unknown here.
    """
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    for owner, methods in ((Worker, ("init_process", "run")), (Arbiter, ("spawn_worker", "reap_workers"))):
        for method in methods:
            getattr(owner, method)
    _here.requests = _here.requests or requests
    _here.names = names or _here.names
    _here.options.update(options)
    seams = _here.seams
    seams.wrap(Worker, "init_process", _init_process)
    seams.wrap(Arbiter, "spawn_worker", _spawn_worker)
    seams.wrap(Arbiter, "reap_workers", functools.partial(_reap_workers, "WORKERS"))
    if hasattr(Arbiter, "spawn_dirty_arbiter"):
        seams.wrap(Arbiter, "spawn_dirty_arbiter", _spawn_dirty_arbiter)
    if _DIRTY in sys.modules:
        _attach_dirty()
    worker = _running_worker()
    if worker is not None:
        _take_over(worker)


def detach() -> None:
    """Put gunicorn back as it was, its classes and the worker of this process."""
    _here.seams.restore()
    while _here.undo:
        _here.undo.pop()()
    if _here.names is not None and naming.current is _here.names:
        use_names(None)
    workers.resign()
    _here.requests, _here.names, _here.options = False, None, {}


def _attach_dirty() -> None:
    """Watch the workers of the dirty arbiter. Their modules are not to be imported before gunicorn does (they import asyncio)."""
    from gunicorn.dirty.arbiter import DirtyArbiter
    from gunicorn.dirty.worker import DirtyWorker

    _here.seams.wrap(DirtyWorker, "init_process", _init_process)
    _here.seams.wrap(DirtyArbiter, "reap_workers", functools.partial(_reap_workers, "workers"))


def _init_process(original: Callable[[Any], None], worker: Any) -> None:
    _take_over(worker)
    original(worker)


def _spawn_worker(original: Callable[[Any], int], arbiter: Any) -> int:
    _prepare_master()
    return original(arbiter)


def _spawn_dirty_arbiter(original: Callable[[Any], Any], arbiter: Any) -> Any:
    if not arbiter.dirty_arbiter_pid:
        _prepare_master()
        _guarded(_attach_dirty)
    return original(arbiter)


def _prepare_master() -> None:
    """Import what workers will need, once in each master, and name the run for them. Builds nothing."""
    if _here.prepared != os.getpid():
        _here.prepared = os.getpid()
        _guarded(_announce)


def _announce() -> None:
    if bootstrap.ensure_installed():
        if _here.names is not None:
            use_names(_here.names)  # for what it may have to report of killed workers when it ends
        announce_run(runs.origin())
        workers.supervise()


def _reap_workers(register: str, original: Callable[[Any], None], arbiter: Any) -> None:
    """Tell how workers ended: their exit status is looked at before it is reaped, for gunicorn passes it on to nobody."""
    before = dict(getattr(arbiter, register))
    seen = {pid: status for pid in before if (status := _exit_status(pid)) is not None}
    try:
        original(arbiter)
    finally:
        left = getattr(arbiter, register)
        for pid, worker in before.items():
            if pid in seen or pid not in left:
                workers.departed(pid, status=seen.get(pid), timed_out=bool(worker.aborted))


def _exit_status(pid: int) -> int | None:
    """Return the wait status of a dead child, as `os.waitpid` would, without reaping it; None where it lives or is none."""
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, AttributeError):  # not our child any more; a system without waitid
        return None
    if found is None:
        return None
    return found.si_status << 8 if found.si_code == os.CLD_EXITED else found.si_status


def _take_over(worker: Any) -> None:
    """Have our start and end around a worker's `run`; if it runs already, start now."""
    if _here.undo:
        return
    if worker.booted:
        _guarded(_start, worker)
        return
    run = worker.run
    worker.run = functools.partial(_run, worker, run)
    _here.undo.append(lambda: vars(worker).pop("run", None))


def _run(worker: Any, run: Callable[[], object]) -> object:
    _guarded(_start, worker)
    try:
        return run()
    finally:
        _stop(worker)
        if _is_dirty(worker):  # it leaves through os._exit
            exits.flush()


def _stop(worker: Any) -> None:
    if worker.pid == os.getpid():  # and not in a child that has this stack, too
        workers.end(_reason(worker))


def _start(worker: Any) -> None:
    """Begin a worker's telemetry: its signals are set up, its application is loaded."""
    if not bootstrap.ensure_installed():
        return
    if _here.requests and not _is_dirty(worker):
        _trace_application(worker)
    if _here.names is not None:
        use_names(_here.names)
    # uvicorn's class puts back the handler that it finds, and ends the process with the signal once it has served.
    last_is_lifespan = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not exits.handle_sigterm()
    workers.begin(SERVER, lifespan=last_is_lifespan)
    workers.ready()


def _trace_application(worker: Any) -> None:
    name = "asgi" if hasattr(worker, "asgi") else "wsgi"
    ours = type(worker).__module__.startswith("gunicorn.")
    app = getattr(worker, name, None)
    if app is None:
        return
    wrapped = applications.wrap(app, interface=name if ours else None, **_here.options)
    if wrapped is app:
        return
    setattr(worker, name, wrapped)

    def undo() -> None:
        switch_off(wrapped)
        if getattr(worker, name) is wrapped:
            setattr(worker, name, app)

    _here.undo.append(undo)


def _reason(worker: Any) -> str | None:
    """Return why a worker's `run` has ended; None where the worker does not tell."""
    most = getattr(worker, "max_requests", sys.maxsize)
    if getattr(worker, "nr", 0) >= most:
        return "recycled"
    if not worker.alive:
        return exits.cause() or "stopped"
    # uvicorn's class counts for itself, and a signal would have ended the process.
    return "recycled" if most < sys.maxsize and not exits.draining() else None


def _is_dirty(worker: Any) -> bool:
    return not hasattr(worker, "load_wsgi")


def _running_worker() -> Any | None:
    """Return the worker whose process this is, or None: the one that handles SIGUSR1, or that is in its `init_process`.

    The handler is gunicorn's documented interface for log rotation. The asgi worker has its loop handle signals, and a gevent
    worker's main greenlet is on no thread's stack: each is found by the other way.
    """
    for found in (getattr(signal.getsignal(signal.SIGUSR1), "__self__", None), *_initialising()):
        kinds = {kind.__module__ for kind in type(found).__mro__}
        if kinds & {"gunicorn.workers.base", "gunicorn.dirty.worker"} and found.pid == os.getpid():
            return found
    return None


def _initialising() -> Iterator[Any]:
    main = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - documented in `sys`
    for frame in (sys._getframe(), main):  # noqa: SLF001 - documented in `sys`
        step: FrameType | None = frame
        while step is not None:
            if step.f_code.co_name == "init_process":
                yield step.f_locals.get("self")
            step = step.f_back


def _guarded(step: Callable[..., object], *arguments: Any) -> None:
    """Call a step of ours inside a server's code: what it raises is logged, and the server goes on."""
    try:
        step(*arguments)
    except Exception:
        _logger.exception("gunicorn's telemetry could not be set up; the server goes on")
