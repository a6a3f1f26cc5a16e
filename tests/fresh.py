"""Runs a script in a fresh interpreter with a deadline; a hang fails the test with the stacks of all its threads.

Whatever forks, sends signals, or asks what a process has not done yet is tested this way: the test run's own process has threads,
handlers and imports of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from textwrap import dedent

DEADLINE = 40.0
"""Seconds a script may take; its stacks are printed two seconds before."""

_PROLOGUE = """
import faulthandler, os, signal, sys
# An alarm prints the stacks and ends the process. faulthandler's own watchdog is a thread, for which a child waits for ever.
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm({stacks})
os.register_at_fork(after_in_child=lambda: signal.alarm({stacks} - 2))

def out(*words):
    '''One line in one write: lines of several processes do not mix.'''
    os.write(1, (" ".join(str(word) for word in words) + chr(10)).encode())
"""

_RECORDING = """
import itertools, threading, time
import otelfork
from otelfork import forks
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger

MAIN = os.getpid()

def who():
    return "parent" if os.getpid() == MAIN else "child"

class Spans:
    '''Writes a line for each span; `slow` seconds an export.'''
    slow = 0.0
    def export(self, batch, *args, **kwargs):
        time.sleep(self.slow)
        for span in batch:
            out("span", span.name, who())
    def shutdown(self, *args, **kwargs): pass

class Points:
    '''Writes a line for each number point.'''
    slow = 0.0
    def export(self, data, *args, **kwargs):
        time.sleep(self.slow)
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = point.value if hasattr(point, "value") else point.count
                        out("point", metric.name, value, who())
    def shutdown(self, *args, **kwargs): pass

class Logs:
    '''Writes a line for each log record.'''
    def export(self, batch, *args, **kwargs):
        for data in batch:
            out("log", data.log_record.body, who())
    def shutdown(self, *args, **kwargs): pass

def configure(**arguments):
    arguments.setdefault("exporters", {"traces": [Spans], "metrics": [Points], "logs": [Logs]})
    return otelfork.configure(**arguments)

def span(name, tracer=None):
    with (tracer or trace.get_tracer("test")).start_as_current_span(name):
        pass

def c_fork():
    '''Fork in C, where no hook runs. Quiet first: CPython's own child hangs if a thread waited for the GIL at the fork.'''
    import ctypes
    time.sleep(0.1)
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        signal.alarm(30)
    return pid

def forked(work, fork=os.fork):
    '''Run `work` in a forked child that leaves by os._exit after a flush; return its pid.'''
    pid = fork()
    if pid == 0:
        try:
            work()
            os._exit(0 if otelfork.flush(15) else 3)
        except BaseException as error:
            out("error", repr(error))
            os._exit(4)
    return pid

def reaped(pids):
    '''Wait for the children and print the exit status of each that failed.'''
    for pid in pids:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            out("failed", status)

def threads():
    return sorted(t.name for t in threading.enumerate() if t is not threading.main_thread())

def sockets():
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink("/proc/self/fd/" + number).startswith("socket:")
        except OSError:
            pass
    return found
"""


def run(
    script: str, *, deadline: float = DEADLINE, recording: bool = True, environment: dict[str, str] | None = None
) -> list[str]:
    """Run the script and return the lines it and its children wrote; what they logged goes to the failure's message.

    Args:
        script: Python; it finds `out`, and with `recording` the names of `_RECORDING`.
        deadline: seconds.
        recording: whether to import otelfork and prepare exporters that write lines.
        environment: variables besides those of this process, which are free of OTEL_*.

    Raises:
        AssertionError: it hung or failed; the message has its stacks and standard error.
    """
    status, lines, errors = outcome(script, deadline=deadline, recording=recording, environment=environment)
    assert status == 0, f"exit status {status}\n{errors}\n" + "\n".join(lines)
    return lines


def outcome(
    script: str,
    *,
    deadline: float = DEADLINE,
    recording: bool = True,
    environment: dict[str, str] | None = None,
    announced: bool = False,
) -> tuple[int, list[str], str]:
    """Run the script and return its exit status, the lines written and its standard error (see `run`).

    The start-up line is left out of the last, unless it is what the test is about (`announced`).
    """
    prologue = _PROLOGUE.format(stacks=int(deadline - 2)) + (_RECORDING if recording else "")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELFORK_"))}
    # A scoreboard of its own: what a killed process of another test left behind is nothing that this script has recorded.
    with tempfile.TemporaryDirectory(prefix="otelfork-run-") as board:
        done = subprocess.run(
            [sys.executable, "-c", prologue + dedent(script)],
            env={**clean, "OTELFORK_RUN_DIR": board, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=deadline + 10,
            check=False,
        )
    errors = done.stderr.splitlines(keepends=True)
    kept = [line for line in errors if announced or not line.startswith("otelfork telemetry: ")]
    return done.returncode, done.stdout.splitlines(), "".join(kept)


def counted(lines: list[str]) -> dict[str, int]:
    """Return how often each line was written."""
    return {line: lines.count(line) for line in dict.fromkeys(lines)}
