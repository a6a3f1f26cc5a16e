"""The thread of one worker that keeps its slot's file up to date: once a second, when asked, and on the way out.

Only this thread collects, so nothing of it runs in a request, in a signal handler, or twice at once. A worker that is busy in C is
shown as of its last snapshot. It must not know what a snapshot is made of.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from otelfork import forks
from otelfork.prometheus.families import Families, continued, dump, load, merge
from otelfork.prometheus.slots import Slots, answer, answered
from otelfork.run import runs

SECONDS = 1.0
"""Between two snapshots that nobody asked for."""
_FIRST_SECONDS = 0.05
"""Until the first: the request that made this process record has the interpreter to itself."""
_TROUBLE_SECONDS = 0.1
_logger = logging.getLogger("otelfork")
Take = Callable[[], "tuple[Families, Mapping[str, str]]"]
"""Collects this process's families and its resource as labels."""


class Snapshots:
    """The snapshots of one process.

    Args:
        take: collects; called on this object's thread only.
        slots: the run's slots.
        slot: the one that this process holds.
        chore: called about once a second between two snapshots.
    """

    def __init__(self, take: Take, slots: Slots, slot: int, chore: Callable[[], None]) -> None:
        self._take = take
        self._slots = slots
        self._slot = slot
        self._chore = chore
        self._writer = {"pid": os.getpid(), "started": runs.start_time(os.getpid()), "slot": slot}
        self._past: Families = {}
        """What the predecessors in the slot have counted."""
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._complained = False
        # Held while a snapshot is made: a fork waits for it a moment, and `stop` until there will be no other.
        self._gate = threading.RLock()

    def start(self) -> None:
        """Listen, and start the thread. Where there can be none (interpreter exit), the slot shows its predecessor."""
        try:
            with self._gate:  # a fork sees the socket when it is known, or not at all
                self._listener = self._slots.listen(self._slot)
                forks.own(self._listener.fileno())
            self._thread = threading.Thread(target=self._run, name="otelfork-snapshots", daemon=True)
            self._thread.start()
        except (OSError, RuntimeError) as error:
            _logger.error("the metrics of process %d cannot be scraped: %s", os.getpid(), error)
            self._close()

    def pause(self, deadline: float) -> bool:
        """Wait until no snapshot is being made and keep it so until `resume`; False past the monotonic deadline."""
        return self._gate.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def resume(self) -> None:
        """Let the thread go on after `pause`, on the same thread."""
        self._gate.release()

    def hurry(self) -> Callable[[float], bool]:
        """Have a snapshot made; return what waits for it until a monotonic deadline and tells whether it is there."""
        # A callback of the application may flush: this thread would wait for itself.
        askable = self._listener is not None and threading.current_thread() is not self._thread
        lines = self._slots.ask([self._slot]) if askable else []
        return lambda deadline: all(answered(line, deadline) for _, line in lines)

    def stop(self, deadline: float) -> None:
        """Make no snapshot from now on: the slot may be somebody else's soon."""
        held = self.pause(deadline)
        self._stopped = True
        if held:
            self._close()
            self.resume()

    def _run(self) -> None:
        # Read while the slot is ours and its file still the predecessor's.
        past = load(self._slots.read(self._slot).get("families", []))
        merge(self._past, past, departed=True)
        due = time.monotonic() + _FIRST_SECONDS
        while not self._stopped:
            askers = self._askers(due - time.monotonic())
            if askers or time.monotonic() >= due:
                self._snapshot()
            for asker in askers:
                answer(asker)
            if time.monotonic() >= due:
                due = time.monotonic() + SECONDS
                with self._gate:
                    self._guarded(self._chore)

    def _askers(self, seconds: float) -> Sequence[socket.socket]:
        """Wait at most so many seconds for somebody who asks; return all who do by then: one snapshot is for all of them."""
        found: list[socket.socket] = []
        listener = self._listener
        try:
            while listener is not None:
                listener.settimeout(0.0 if found else max(0.001, seconds))
                found.append(listener.accept()[0])
        except (TimeoutError, BlockingIOError):
            pass
        except OSError:  # no descriptor is free, or the socket was closed meanwhile
            time.sleep(_TROUBLE_SECONDS)
        return found

    def _snapshot(self) -> None:
        with self._gate:
            if not self._stopped:
                self._guarded(self._write)

    def _write(self) -> None:
        own, resource = self._take()
        total = continued(self._past, own)
        if self._stopped:  # while the application's callbacks were slow
            return
        self._slots.write(self._slot, {**self._writer, "resource": resource, "families": dump(total)})

    def _guarded(self, work: Callable[[], None]) -> None:
        """The thread survives whatever a callback of the application raises, but a killed greenlet ends."""
        try:
            work()
        except BaseException as error:
            if type(error).__name__ == "GreenletExit":
                raise
            if not self._complained:
                self._complained = True
                _logger.exception("the metrics of process %d could not be brought up to date", os.getpid())

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._slots.leave(self._slot)
            forks.disown(listener.fileno())
            listener.close()
