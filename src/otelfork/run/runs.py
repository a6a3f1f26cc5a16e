"""Which processes belong together: the run, all processes of one server start, found without anybody's help.

1. `OTELFORK_RUN`, set by whoever started this process: `otelfork run`, or any live process of a run before it forks or spawns.
2. The supervisor: the parent that `multiprocessing` names (uvicorn `--workers`, hypercorn, granian), uWSGI's master, or gunicorn's
   arbiter. Each worker imports the application by itself there, and an environment variable set in one reaches no sibling.
3. Else a run of this process and its children.

A supervisor is named by boot, pid namespace, pid and start time: pids come again, and two containers both have a pid 1.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from otelfork.run.boardfile import MAGIC
from otelfork.settings import Environment

_PROC = Path("/proc")


def key(origin: str, service: str) -> str:
    """Return the key of a service's run with that origin: 32 hexadecimal digits.

    Another service's is another run, and so is one whose files have another layout: a server that is reloaded after an upgrade.
    """
    return hashlib.blake2b(f"{origin}\0{service}".encode(), digest_size=16, person=MAGIC).hexdigest()


def origin(environment: Environment | None = None) -> str:
    """Return what children are to find in OTELFORK_RUN."""
    return (environment or Environment()).text("OTELFORK_RUN") or identify(_supervisor() or os.getpid())


def identify(pid: int) -> str:
    """Return what names one process for good: boot id, pid namespace, pid, start time in clock ticks, and the user."""
    boot = _text(_PROC / "sys/kernel/random/boot_id")
    uid = os.getuid() if hasattr(os, "getuid") else 0
    return f"{boot}:{namespace()}:{pid}:{start_time(pid)}:{uid}"


def namespace() -> int:
    """Return the inode of the pid namespace, 0 where there is none."""
    try:
        return (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return 0


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5), stat field 22); 0 where it cannot be told."""
    fields = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def _text(path: Path) -> str:
    """Read a small file of the kernel, in three calls: the first request of a worker waits for it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(file, 4096).decode("utf-8", "replace").strip()
    except OSError:  # the process has gone meanwhile
        return ""
    finally:
        os.close(file)


def _supervisor() -> int | None:
    """Return the pid of the process that supervises this worker, or None."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None and hasattr(uwsgi, "masterpid") and uwsgi.masterpid():
        return int(uwsgi.masterpid())
    context = sys.modules.get("multiprocessing.process")
    parent = context.parent_process() if context is not None else None
    if parent is not None and parent.pid is not None:
        return int(parent.pid)
    if "gunicorn.arbiter" in sys.modules:
        return os.getppid() if in_gunicorn_worker() else os.getpid()
    return None


def in_worker() -> bool:
    """Tell whether this process is a server's worker that can be told from its master."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None and hasattr(uwsgi, "worker_id"):
        return bool(uwsgi.worker_id())
    context = sys.modules.get("multiprocessing.process")
    if context is not None and context.parent_process() is not None:
        return True
    return "gunicorn.arbiter" in sys.modules and in_gunicorn_worker()


def in_gunicorn_worker() -> bool:
    """Tell a gunicorn worker from its arbiter: the worker handles SIGUSR1 itself, or runs inside `Arbiter.spawn_worker`.

    The handler is gunicorn's documented interface for log rotation. A gevent worker's main greenlet is on no thread's stack; the
    asgi worker's handlers belong to its loop.
    """
    worker = getattr(sys.modules.get("gunicorn.workers.base"), "Worker", None)
    if worker is not None and isinstance(getattr(signal.getsignal(signal.SIGUSR1), "__self__", None), worker):
        return True
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - documented in `sys`
    while frame is not None:
        code = frame.f_code
        if code.co_name == "spawn_worker" and code.co_filename.endswith(f"gunicorn{os.sep}arbiter.py"):
            return True
        frame = frame.f_back
    return False


def is_master() -> bool:
    """Tell whether this process only supervises workers: gunicorn's arbiter, or uWSGI's master before it forks.

    Mules and the spooler of uWSGI do work of their own. gunicorn's arbiter is told by what runs on its main thread, for it has
    no handlers yet while it imports an application that is preloaded.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None and hasattr(uwsgi, "worker_id"):
        works = uwsgi.worker_id() or _called(uwsgi, "mule_id") or _called(uwsgi, "i_am_the_spooler")
        return not works
    names = set()
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - documented in `sys`
    while frame is not None:
        if frame.f_code.co_filename.endswith(f"gunicorn{os.sep}arbiter.py"):
            names.add(frame.f_code.co_name)
        frame = frame.f_back
    return bool(names) and "spawn_worker" not in names


def _called(module: Any, name: str) -> bool:
    found = getattr(module, name, None)
    return bool(found()) if callable(found) else False
