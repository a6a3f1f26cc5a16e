"""A seal tells a process from its children."""

from __future__ import annotations

import os

import pytest

from otelfork import seals


@pytest.mark.parametrize("make", [seals.seal, seals.ByPid])
def test_a_seal_holds_in_its_process_and_in_no_child(make):
    """Whichever way it is made."""
    seal = make()
    pid = os.fork()
    if pid == 0:
        os._exit(1 if seal[0] else 7)
    _, status = os.waitpid(pid, 0)
    assert (True, 7) == (bool(seal[0]), os.waitstatus_to_exitcode(status))


def test_a_fork_in_c_breaks_a_seal():
    """The kernel empties the page: no hook of Python's has to run."""
    import ctypes

    seal = seals.seal()
    libc = ctypes.CDLL(None)
    pid = libc.fork()
    if pid == 0:
        os._exit(1 if seal[0] else 7)
    _, status = os.waitpid(pid, 0)
    assert 7 == os.waitstatus_to_exitcode(status)


def test_without_such_a_page_the_pid_tells(monkeypatch: pytest.MonkeyPatch):
    """An older kernel, or another system."""
    monkeypatch.setattr(seals, "_WIPE_ON_FORK", 9999)
    assert isinstance(seals.seal(), seals.ByPid)
