"""Turns off one part of otelfork in a server under test, by OTELFORK_TEST_MUTATION. On PYTHONPATH of tests only.

The product has no such switch: this file replaces names of its modules before the application is imported.
"""

import os
import sys


class _FrozenOs:
    """The module `os` with a pid that only Python's at-fork hook renews: a fork in C goes unnoticed."""

    def __init__(self):
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self):
        self._pid = os.getpid()

    def getpid(self):
        return self._pid

    def __getattr__(self, name):
        return getattr(os, name)


def hook_off():
    """Leave out the at-fork hooks of otelfork; all others are registered."""
    register = os.register_at_fork

    def without_ours(**hooks):
        ours = any(hook.__module__ == "otelfork.forks" for hook in hooks.values())
        return None if ours else register(**hooks)

    os.register_at_fork = without_ours
    import otelfork.forks  # noqa: F401

    os.register_at_fork = register


def pid_check_off():
    """Let a fork be noticed by the hook alone."""
    frozen = _FrozenOs()
    import otelfork.forks

    otelfork.forks.os = frozen


def hook_and_pid_check_off():
    """Let no fork be noticed at all."""
    hook_off()
    import otelfork.forks

    frozen = _FrozenOs()
    frozen._renew = None
    pid = os.getpid()
    frozen.getpid = lambda: pid
    otelfork.forks.os = frozen


def flush_off():
    """Export nothing on the way out."""
    import otelfork.forks

    otelfork.forks.flush = lambda timeout: True


def one_after_the_other():
    """Let a flush export the signals one after the other, each with all the time, and break nothing off."""
    import otelfork.delivery.outbox
    import otelfork.delivery.outcome

    otelfork.delivery.outbox.side_by_side = lambda parts, deadline: [part(deadline) for part in parts]
    otelfork.delivery.outcome.Tries.break_off = lambda self, **_: None


def seat_off():
    """Pass over the provider that the user has put in the global seat."""
    import otelfork.bootstrap
    import otelfork.request.instruments

    otelfork.request.instruments.get_tracer_provider = lambda: otelfork.bootstrap._bootstrap.tracer_provider


def wrapping_off():
    """Leave alone what servers load."""
    import otelfork.servers.applications

    otelfork.servers.applications.wrap = lambda app, **_: app


def lateness_off():
    """Build telemetry while the application is imported."""
    import otelfork.forks
    import otelfork.middleware

    construct = otelfork.middleware.OtelMiddleware.__init__

    def at_once(self, *arguments, **keywords):
        construct(self, *arguments, **keywords)
        otelfork.forks.ensure()

    otelfork.middleware.OtelMiddleware.__init__ = at_once


def tags_stay():
    """Leave the tags of a span on its thread."""
    import otelfork.profiles.profiles

    otelfork.profiles.profiles.Profiles.leave = lambda self, span_id: None


def names_off():
    """Give requests no second set of names."""
    import otelfork.request.naming

    otelfork.request.naming.use = lambda names: None


def start_off():
    """Let gunicorn's workers start without a word."""
    import otelfork.servers.gunicorn

    otelfork.servers.gunicorn._start = lambda worker: None


def deaths_off():
    """Have no master tell how its workers ended."""
    import otelfork.workers

    otelfork.workers.departed = lambda pid, **how: None


def past_off():
    """Let a worker of the page for Prometheus count from nothing, whatever its predecessors in the slot have counted."""
    import otelfork.prometheus.snapshots

    otelfork.prometheus.snapshots.continued = lambda past, own: own


def notes_off():
    """Note no worker on the scoreboard."""
    import otelfork.run.scoreboard

    otelfork.run.scoreboard.Scoreboard.enlist = lambda self, worker: None


def nothing_off():
    """Load this file and change nothing: the control, under which every row has to hold."""
    import otelfork.forks  # noqa: F401


def _mutate():
    name = os.environ.get("OTELFORK_TEST_MUTATION")
    if name:
        globals()[name]()
        sys.stderr.write(f"mutation {name} in process {os.getpid()}\n")


_mutate()
