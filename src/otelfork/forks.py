"""The one owner of the process's telemetry generation, and the only `os.register_at_fork` of the package.

A generation is everything that must not survive a fork: providers, queues, threads, connections. Hooks forget, first use
builds: the child drops the inherited generation unread and the next use builds its own. A fork in C that runs no hook
(uWSGI) is noticed by the pid, wherever the current generation is asked for.

This module knows nothing of OpenTelemetry; `bootstrap` installs the function that builds.
"""

from __future__ import annotations

# Their own at-fork hooks have to run before ours, or an executor or a log call in a later hook hangs on an inherited lock.
import concurrent.futures.thread
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from otelfork.seals import Seal, seal

BUILD_SECONDS = 5.0
"""How long a thread waits for another one that builds or shuts down. Past it a record is lost, and no two locks wait for ever."""
QUIET_SECONDS = 0.02
"""How long a fork may wait for a quiet point (a build half done, an export under way) before it goes on regardless."""

_logger = logging.getLogger("otelfork")
_REGISTERED_BEFORE_US = (concurrent.futures.thread, logging)


class Generation(Protocol):
    """What `forks` asks of the telemetry state of one process."""

    def start(self) -> None:
        """Begin to work: called once, when everybody already finds this generation."""

    def pause(self, deadline: float) -> bool:
        """Park the exporter thread between two exports; tell whether that succeeded before the monotonic deadline."""

    def resume(self) -> None:
        """Let a parked exporter thread go on."""

    def forget(self) -> None:
        """In a forked child: let go of everything unread. No lock, no I/O, no finaliser of a connection may run."""

    def flush(self, deadline: float) -> bool:
        """Export what is recorded until the monotonic deadline; tell whether all of it was handed over."""

    def shutdown(self, deadline: float) -> bool:
        """Flush, then stop for good."""

    def mark(self, ended: str) -> None:
        """Note how this process is about to end, for whoever reports what it leaves. Quick, and safe in a signal handler."""


class Holder(Protocol):
    """An object that closes a descriptor when it ends, such as a socket."""

    def detach(self) -> int:
        """Forget the descriptor without closing it."""


class _Process:
    """The state of one process, replaced as a whole after a fork."""

    __slots__ = ("builder", "failed", "generation", "holds", "lock", "pid", "seal")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.seal = seal()
        self.seal[1] = 1
        self.generation: Generation | None = None
        self.failed = False
        self.builder = 0  # the thread or greenlet that is building
        # Reentrant: a signal handler, or the SDK while it is being built, may ask again on the same thread.
        self.lock = threading.RLock()
        self.holds: dict[int, tuple[bool, Generation | None]] = {}
        """What the `before` hook of each forking thread holds: the build lock or not, the generation it parked or None."""


_build: Callable[[], Generation | None] | None = None
_process = _Process(os.getpid())
_births: dict[int, _Process] = {_process.pid: _process}
_descriptors: dict[int, tuple[int, weakref.ref[Holder] | None]] = {}
"""Descriptors of ours by number: the inode that proves the number still means the same file, and the object that holds it."""
_forgotten: list[object] = []
"""Inherited generations. Never freed: a finaliser of theirs would lock, write or shut down what the parent still uses."""


def install(build: Callable[[], Generation | None] | None, *, timeout: float = 3.0) -> None:
    """Set the function that builds this process's generation at its first use, and shut down a generation built before.

    Args:
        build: makes a generation; None where there is nothing to build.
        timeout: seconds for what the generation built before has not exported yet.
    """
    global _build
    _build = build
    previous = _take(_here(), failed=False)
    if previous is not None:
        previous.shutdown(time.monotonic() + timeout)


def installed() -> bool:
    """Tell whether there is something to build."""
    return _build is not None


def current() -> Generation | None:
    """Return this process's generation, or None before its first use."""
    process = _process
    if not process.seal[0]:
        process = _here()
    return process.generation


def ensure() -> Generation | None:
    """Return this process's generation and build it at first use. None where nothing is installed or building failed.

    Another thread that builds meanwhile is waited for, so that no record goes to a no-op. Never raises.
    """
    process = _process
    if not process.seal[0]:
        process = _here()
    generation = process.generation
    if generation is not None or _build is None or process.failed:
        return generation
    return _first_use(process, _build)


def standing() -> tuple[Seal, int]:
    """Return a seal and a number: what was made of the generation is good as long as `seal[1]` is that number."""
    process = _process
    if not process.seal[0]:
        process = _here()
    return process.seal, process.seal[1]


def change() -> None:
    """Let nothing that stands now stand any longer (see `standing`): another generation is there, or another wish."""
    process = _here()
    if process.seal[1] < 255:
        process.seal[1] += 1
        return
    # Numbers do not come again: who was away for all of them would take what is long gone for what is there.
    old, process.seal = process.seal, seal()
    process.seal[1] = 1
    old[1] = 0


def _first_use(process: _Process, build: Callable[[], Generation | None]) -> Generation | None:
    # gunicorn's gevent worker patches after our import, so that all greenlets pass our lock as one thread: they wait here.
    deadline = time.monotonic() + BUILD_SECONDS
    with contextlib.suppress(Exception):  # gevent's hub may not wait
        while process.builder not in {0, threading.get_ident()} and time.monotonic() < deadline:
            time.sleep(0.001)
    if not process.lock.acquire(timeout=BUILD_SECONDS):
        return process.generation
    problem: Exception | None = None
    built: Generation | None = None
    try:
        if process.generation is None and not process.failed and not process.builder:
            process.builder = threading.get_ident()
            try:
                process.generation = built = build()
                process.failed = built is None
            except Exception as error:
                process.failed = True
                problem = error
            finally:
                # What is no Exception (a signal's SystemExit, a greenlet's timeout) passes; the next use builds again.
                process.builder = 0
    finally:
        process.lock.release()
    change()
    if built is not None:
        built.start()  # after the generation is in its place: starting a thread lets other greenlets run
    if problem is not None:
        # After the lock: a log handler may wait for one whose holder waits for ours.
        _logger.error("telemetry could not be built; the application runs on untraced", exc_info=problem)
    return process.generation


def _take(process: _Process, *, failed: bool) -> Generation | None:
    """Take the generation out of the process; `failed` says whether none may be built after it."""
    locked = process.lock.acquire(timeout=BUILD_SECONDS)
    try:
        generation, process.generation, process.failed = process.generation, None, failed
        change()
    finally:
        if locked:
            process.lock.release()
    return generation


def flush(timeout: float) -> bool:
    """Export what this process has recorded.

    Args:
        timeout: seconds, for all signals together.

    Returns:
        Whether everything was handed over in time; True where nothing was recorded.
    """
    generation = current()
    return generation is None or generation.flush(time.monotonic() + timeout)


def mark(ended: str) -> None:
    """Note how this process is about to end, where it has recorded anything. Never raises."""
    generation = current()
    if generation is not None:
        with contextlib.suppress(Exception):  # on the way out of a process nothing of ours is in the way
            generation.mark(ended)


def shutdown(timeout: float) -> bool:
    """Flush, then end this process's telemetry: what is recorded later goes nowhere."""
    generation = _take(_here(), failed=True)
    return generation is None or generation.shutdown(time.monotonic() + timeout)


def own(descriptor: int, holder: Holder | None = None) -> None:
    """Note a file or socket of ours, so that a forked child closes its copy by number.

    Args:
        descriptor: the number.
        holder: the object that would close that number at its end. In the child the number soon means something else.
    """
    with contextlib.suppress(OSError):
        _descriptors[descriptor] = os.fstat(descriptor).st_ino, None if holder is None else weakref.ref(holder)


def disown(descriptor: int) -> None:
    """Forget a file or socket that is about to be closed."""
    _descriptors.pop(descriptor, None)


def _here() -> _Process:
    """Return the state that belongs to this pid; after a fork, forget the inherited one."""
    global _process
    pid = os.getpid()
    inherited = _process
    if inherited.pid == pid:
        return inherited
    newborn = _Process(pid)
    # dict.setdefault is atomic: of two threads that notice a fork in C at once, one makes the state and both use it.
    process = _births.setdefault(pid, newborn)
    _process = process
    if process is newborn:
        _births.pop(inherited.pid, None)
        _forget(inherited)
    return process


def _forget(inherited: _Process) -> None:
    generation = inherited.generation
    _forgotten.append(inherited.lock)
    if generation is not None:
        _forgotten.append(generation)
        generation.forget()
    for descriptor, (inode, reference) in list(_descriptors.items()):
        holder = None if reference is None else reference()
        with contextlib.suppress(OSError):
            if holder is not None:
                # urllib3 closes its pools at the exit of every process that inherited them: by then the number may be that of
                # a connection of the child's own, in the middle of an export, or of a file of the application.
                holder.detach()
            if os.fstat(descriptor).st_ino == inode:
                os.close(descriptor)
    _descriptors.clear()


def _before() -> None:
    """Wait a moment for a quiet point. Past it the fork goes on; the child is safe anyway, it drops everything."""
    process = _here()
    deadline = time.monotonic() + QUIET_SECONDS
    locked = process.lock.acquire(timeout=QUIET_SECONDS)
    generation = process.generation
    parked = generation if generation is not None and generation.pause(deadline) else None
    process.holds[threading.get_ident()] = (locked, parked)


def _after_in_parent() -> None:
    process = _process
    locked, parked = process.holds.pop(threading.get_ident(), (False, None))
    if parked is not None:
        parked.resume()
    if locked:
        process.lock.release()


if hasattr(os, "register_at_fork"):  # Windows has no fork: everything works there without the hooks.
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_here)
