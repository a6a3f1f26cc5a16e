"""gunicorn's classes: wrapped where nothing else would tell of a worker, and put back exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from otelfork import workers
from otelfork.servers import gunicorn
from otelfork.servers.seams import Seams

pytest.importorskip("gunicorn")
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker


@pytest.fixture(autouse=True)
def detached():
    """Whatever a test attaches is taken off after it."""
    yield
    gunicorn.detach()


def contents(*classes):
    """Return what the classes hold, in their order."""
    return [list(vars(each).items()) for each in classes]


def test_detach_leaves_the_classes_as_they_were():
    """After attach and detach every class holds the same objects under the same names in the same order."""
    before = contents(Worker, Arbiter)
    gunicorn.attach()
    gunicorn.detach()
    assert before == contents(Worker, Arbiter)


def test_attach_twice_wraps_once():
    """A second attach changes nothing more."""
    gunicorn.attach()
    once = contents(Worker, Arbiter)
    gunicorn.attach()
    assert once == contents(Worker, Arbiter)


def test_who_wraps_our_wrapper_keeps_theirs():
    """A method that somebody wrapped after us stays theirs when ours goes, and ours does nothing any more."""

    class Server:
        def serve(self):
            return ["served"]

    seams = Seams()
    seams.wrap(Server, "serve", lambda original, self: ["ours", *original(self)])
    ours = Server.serve
    Server.serve = lambda self: ["theirs", *ours(self)]
    seams.restore()
    assert ["theirs", "served"] == Server().serve()


def test_an_inherited_method_is_inherited_again():
    """Where a class had no method of its own it has none afterwards."""

    class Parent:
        def serve(self):
            return "served"

    class Child(Parent):
        pass

    before = dict(vars(Child))
    seams = Seams()
    seams.wrap(Child, "serve", lambda original, self: original(self))
    seams.restore()
    assert before == dict(vars(Child))


class Reaped:
    """An arbiter with one worker; reaping forgets those that are dead."""

    def __init__(self, pid, *, aborted):
        self.WORKERS = {pid: type("FakeWorker", (), {"aborted": aborted})()}

    def reap(self):
        pid, _ = os.waitpid(-1, os.WNOHANG)
        self.WORKERS.pop(pid, None)


def ended(code):
    """Return the pid of a child that has ended by this Python code and has not been reaped."""
    child = subprocess.Popen([sys.executable, "-c", code])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.returncode = 0  # for Popen's own book-keeping
    return child.pid


@pytest.mark.parametrize(
    ("code", "aborted", "expected"),
    [
        ("import os; os._exit(3)", False, {"status": 3 << 8, "timed_out": False}),
        ("import os; os.kill(os.getpid(), 9)", True, {"status": signal.SIGKILL, "timed_out": True}),
    ],
)
def test_the_arbiter_tells_how_a_worker_ended(monkeypatch, code, aborted, expected):
    """The status is that of `os.waitpid`, and whether the arbiter itself had given the worker up is told."""
    told = []
    monkeypatch.setattr(workers, "departed", lambda pid, **how: told.append((pid, how)))
    pid = ended(code)
    gunicorn._reap_workers("WORKERS", Reaped.reap, Reaped(pid, aborted=aborted))
    assert [(pid, expected)] == told


def test_a_living_worker_is_not_told_of(monkeypatch):
    """Reaping without a death says nothing."""
    told = []
    monkeypatch.setattr(workers, "departed", lambda pid, **how: told.append((pid, how)))
    gunicorn._reap_workers("WORKERS", lambda arbiter: None, Reaped(os.getpid(), aborted=False))
    assert [] == told


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ({"nr": 20, "max_requests": 20, "alive": False}, "recycled"),
        ({"nr": 3, "max_requests": 20, "alive": False}, "stopped"),
        ({"nr": 3, "max_requests": sys.maxsize, "alive": False}, "stopped"),
        ({"nr": 0, "max_requests": 20, "alive": True}, "recycled"),
        ({"nr": 0, "max_requests": sys.maxsize, "alive": True}, None),
    ],
)
def test_why_a_worker_ends_is_told_by_what_it_counts(worker, reason):
    """A worker at its limit is recycled, one that was told to end has stopped; uvicorn's class counts by itself."""
    assert reason == gunicorn._reason(type("FakeWorker", (), worker))
