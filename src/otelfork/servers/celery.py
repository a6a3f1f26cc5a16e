"""celery: where a process of the prefork pool starts and ends, told by celery's signals.

Sources: celery's documentation "Signals", `worker_process_init` and `worker_process_shutdown`. Its parent process has no signal
for a pool process that dies.
"""

from __future__ import annotations

from typing import Any

from otelfork import workers

SERVER = "celery"
_RECYCLED = 155
"""Exit code of a process that has done as many tasks, or uses as much memory, as it may (`billiard.pool.EX_RECYCLE`)."""
_UID = "otelfork.workers"


def attach() -> None:
    """Have each pool process of this program begin after its fork, and end with its reason. Twice is as good as once.

    Raises:
        ImportError: celery is not installed.
    """
    from celery import signals

    signals.worker_process_init.connect(_on_init, weak=False, dispatch_uid=_UID)
    # Before the handler that flushes (`exits`): that is connected by each process at its first use.
    signals.worker_process_shutdown.connect(_on_shutdown, weak=False, dispatch_uid=_UID)


def _on_init(**_: Any) -> None:
    workers.begin(SERVER)
    workers.ready()


def _on_shutdown(exitcode: int | None = None, **_: Any) -> None:
    workers.end("recycled" if exitcode == _RECYCLED else "stopped")
