"""The agent of pyroscope-io: at most one in a process, with threads of its own that no fork takes along.

It samples the whole process and sends by itself. Starting it holds the interpreter for 15 ms, so it is started a moment after a
process's first use, and not by a request. A forked child, whose agent is gone, starts its own. A server's master, which would only
sleep, has none.

Ending it sends what it has sampled since the last time; nothing else does. So a flush ends it, and the next local root span has it
started again.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pyroscope  # type: ignore[import-untyped,unused-ignore]

from otelfork import exits
from otelfork.run import runs
from otelfork.settings.profiles import ProfileSettings

START_SECONDS = 1.0
"""How long after the first use it is started."""
LABELS = {
    "service.namespace": "service_namespace",
    "service.version": "service_version",
    "deployment.environment.name": "deployment_environment_name",
    "service.instance.id": "service_instance_id",
    "worker.id": "worker_id",
}
"""Labels of the profiles by the resource's attributes. None of them has more values than there were slots."""

_logger = logging.getLogger("otelfork")
# pyroscope stops its agent at exit by itself, and waits for a server that hangs as long as that takes. Registered after its own
# function, ours runs before it, keeps the exit's deadline, and leaves it nothing to wait for.
atexit.register(exits.flush)


class Agent:
    """The agent of this process, and the thread that starts and ends it.

    Args:
        settings: where the profiles go.
        attributes: returns the resource's attributes; called when the agent starts.
    """

    def __init__(self, settings: ProfileSettings, attributes: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings
        self._attributes = attributes
        # Not an Event: its put and get are safe in a signal handler that interrupts another put.
        self._ends: queue.SimpleQueue[queue.SimpleQueue[bool]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._over = False
        self._ours = False
        self.running = False
        """Whether this process has an agent: ours, or one that the application started."""

    def want(self) -> None:
        """Have the agent started in a moment, unless this process is a server's master. Never raises, does not wait."""
        if self._thread is not None or self._over or runs.is_master():
            return
        self._thread = thread = threading.Thread(target=self._run, name="otelfork-profiles", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started while the interpreter exits
            self._thread = None

    def end(self, timeout: float, *, for_good: bool = False) -> bool:
        """Send what was sampled, and stop.

        Args:
            timeout: seconds to wait for the server.
            for_good: whether the agent may not be started again.

        Returns:
            Whether it was sent in time; True where nothing was sampled.
        """
        self._over = self._over or for_good
        if not self.running or not self._ours:
            return True
        done: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._ends.put(done)
        try:
            return done.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return False

    def _run(self) -> None:
        try:
            time.sleep(START_SECONDS)
            if self._over:
                return
            self._ours = self._start()
            self.running = True
            if self._ours:
                self._end_when_told()
        except Exception:
            self._over = True
            _logger.exception("the profiler failed; this process is not profiled")
        finally:
            self._thread = None

    def _end_when_told(self) -> None:
        waiting = [self._ends.get()]
        self.running = False
        pyroscope.shutdown()
        while not self._ends.empty():
            waiting.append(self._ends.get_nowait())
        for done in waiting:
            done.put(True)

    def _start(self) -> bool:
        attributes = self._attributes()
        settings = self._settings
        tags = {label: str(attributes[name]) for name, label in LABELS.items() if attributes.get(name) is not None}
        started = pyroscope.configure(
            application_name=settings.application or str(attributes.get("service.name", "")),
            server_address=settings.address,
            basic_auth_username=settings.user,
            basic_auth_password=settings.password,
            tenant_id=settings.tenant,
            http_headers={"Authorization": f"Bearer {settings.token}"} if settings.token else {},
            upload_interval=settings.upload_seconds,
            tags=tags,
        )
        if not started:
            _logger.info("this process has a profiler already, which is left as it is")
        return bool(started)
