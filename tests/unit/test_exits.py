"""Ways out of a process: each one ends in one flush, with one budget of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.fresh import counted, outcome, run

from otelfork import exits, forks

QUIET = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_BLRP_SCHEDULE_DELAY": "60000"}
RECORD = """
configure()
forks.ensure()
counter = metrics.get_meter("m").create_counter("c")
span("s")
counter.add(1)
"""
WHOLE = {"span s parent": 1, "point c 1 parent": 1}
WAYS = {
    "return": "",
    "sys.exit": "sys.exit(0)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(10)",
    "unhandled exception": "raise ValueError('of the application')",
    "SIGINT": "signal.raise_signal(signal.SIGINT)",
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_on_a_clean_way_out(way):
    """Whatever way Python leaves by, what was recorded arrives once."""
    _, lines, errors = outcome(RECORD + WAYS[way], environment=QUIET)
    assert counted(lines) == WHOLE, errors


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("end", ["return", "sys.exit", "raise"])
def test_nothing_is_lost_by_a_child_of_multiprocessing(tmp_path, method, end):
    """Its children leave through os._exit, without atexit: the finalizer of multiprocessing is theirs."""
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing, os, sys, tempfile
import otelfork
from opentelemetry import trace
class Spans:
    def export(self, batch, *args, **kwargs):
        for span in batch: os.write(1, (span.name + "\\n").encode())
    def shutdown(self): pass
def work():
    otelfork.configure(exporters={{"traces": [Spans], "metrics": [], "logs": []}})
    with trace.get_tracer("t").start_as_current_span("of the child"): pass
    if {end!r} == "sys.exit": sys.exit(0)
    if {end!r} == "raise": raise ValueError
if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start()
    process.join()
""")
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **QUIET},
    )
    assert done.stdout.splitlines() == ["of the child"], done.stderr


def test_nothing_is_lost_by_a_process_pool():
    """A worker of ProcessPoolExecutor flushes when the pool ends."""
    lines = run(
        """
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        configure()
        def work(number):
            span("s")
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(work, range(10)))
        os._exit(0)
        """,
        environment=QUIET,
    )
    assert {"span s child": 10} == counted(lines)


def test_a_forked_child_flushes_its_own_at_its_exit():
    """os.fork and sys.exit: the child runs the handlers that its parent registered, for its own records."""
    lines = run(
        RECORD + "pid = os.fork()\nif pid == 0:\n    span('own')\n    sys.exit(0)\nreaped([pid])\n", environment=QUIET
    )
    assert {"span own child": 1, **WHOLE} == counted(lines)


@pytest.mark.parametrize("python", ["now", "3.12 and later"])
def test_a_first_record_in_an_exit_handler_arrives(python):
    """Handlers run in reverse order: ours, registered with the import, comes after. No thread can be started then (3.12)."""
    refuse = """
def refuse(self):
    raise RuntimeError("can't create new thread at interpreter shutdown")
"""
    lines = run(
        "import atexit\nconfigure()\n"
        + (refuse if python != "now" else "")
        + "def last():\n"
        + ("    threading.Thread.start = refuse\n" if python != "now" else "")
        + "    span('last')\n    metrics.get_meter('m').create_counter('c').add(1)\n"
        + "atexit.register(last)\n",
        environment=QUIET,
    )
    assert {"span last parent": 1, "point c 1 parent": 1} == counted(lines)


def test_the_exit_keeps_its_budget_with_an_exporter_that_hangs():
    """A collector that never answers costs OTELFORK_EXIT_TIMEOUT, for all ways out together."""
    lines = run(
        """
        from otelfork import exits
        class Hanging:
            def export(self, batch, *args, **kwargs):
                time.sleep(60)
            def shutdown(self): pass
        configure(exporters={"traces": [Hanging], "metrics": [Hanging], "logs": [Hanging]})
        metrics.get_meter("m").create_counter("c").add(1)
        span("s")
        began = time.monotonic()
        results = [exits.flush() for _ in range(4)]
        out(results, 0.3 < time.monotonic() - began < 3)
        os._exit(0)
        """,
        environment={"OTELFORK_EXIT_TIMEOUT": "0.4"},
    )
    assert ["[False, False, False, False] True"] == lines


@pytest.fixture
def spent(monkeypatch):
    """Record the seconds each flush was given; the flush takes what the test says."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    given = []
    answers = []

    def flush(timeout):
        given.append(timeout)
        took, done = answers.pop(0)
        clock.now += took
        return done

    monkeypatch.setattr(exits, "time", clock)
    monkeypatch.setattr(forks, "flush", flush)
    monkeypatch.setattr(exits, "_exit", exits._Exit())
    monkeypatch.setattr(exits, "_timeout", 3.0)
    return clock, given, answers


def test_a_failed_flush_costs_the_next_one_its_time(spent):
    """One budget for all ways out together."""
    _, given, answers = spent
    answers += [(1.0, False), (1.5, False), (0.1, False)]
    for _ in range(3):
        exits.flush()
    assert [3.0, 2.0, 0.5] == given


def test_time_between_two_flushes_is_not_counted(spent):
    """A SIGTERM that met a dead collector does not cost the job that ends a minute later its records."""
    clock, given, answers = spent
    answers += [(0.2, False), (0.1, True)]
    exits.flush()
    clock.now += 60
    exits.flush()
    assert [3.0, 2.8] == [round(seconds, 6) for seconds in given]


def test_a_successful_flush_gives_the_next_the_whole_time(spent):
    """A lifespan may end long before its process does."""
    _, given, answers = spent
    answers += [(1.0, False), (0.1, True), (0.1, True)]
    for _ in range(3):
        exits.flush()
    assert [3.0, 2.0, 3.0] == given


def test_a_flush_never_raises(monkeypatch, caplog):
    """On the way out nothing is allowed to fail; it is said."""

    def broken(timeout):
        raise RuntimeError("broken")

    monkeypatch.setattr(forks, "flush", broken)
    monkeypatch.setattr(exits, "_exit", exits._Exit())
    assert (False, True) == (exits.flush(), "could not be flushed" in caplog.text)


def test_a_sigterm_handler_of_the_application_still_runs():
    """Ours flushes, and goes on to the handler that was there."""
    lines = run(
        "signal.signal(signal.SIGTERM, lambda number, frame: out('application', number))\n"
        + RECORD
        + "os.kill(os.getpid(), signal.SIGTERM)\nout('goes on')\nos._exit(0)",
        environment=QUIET,
    )
    assert {**WHOLE, "application 15": 1, "goes on": 1} == counted(lines)


def test_the_default_action_of_sigterm_is_kept():
    """A process that would have died of SIGTERM dies of SIGTERM, its telemetry flushed."""
    status, lines, _ = outcome(RECORD + WAYS["SIGTERM"], environment=QUIET)
    assert (-signal.SIGTERM, WHOLE) == (status, counted(lines))


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", {}),
        ("", {"OTELFORK_SIGNALS": "0"}),
    ],
)
def test_sigterm_is_left_alone_where_it_is_ignored_or_not_ours(before, environment):
    """An ignored signal stays ignored; OTELFORK_SIGNALS=0 keeps our hands off."""
    lines = run(
        f"{before}\nwas = signal.getsignal(signal.SIGTERM)\nconfigure()\n"
        "out(signal.getsignal(signal.SIGTERM) is was)\nos._exit(0)",
        environment=environment,
    )
    assert ["True"] == lines


def test_configuring_twice_leaves_one_handler():
    """The handler does not chain to itself."""
    lines = run("""
        configure()
        first = signal.getsignal(signal.SIGTERM)
        configure()
        out(signal.getsignal(signal.SIGTERM) is first, first.previous is signal.SIG_DFL)
        os._exit(0)
    """)
    assert ["True True"] == lines


def test_outside_the_main_thread_no_handler_is_set():
    """`signal.signal` would raise there."""
    lines = run("""
        thread = threading.Thread(target=configure)
        thread.start()
        thread.join()
        out(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        os._exit(0)
    """)
    assert ["True"] == lines


def test_a_child_that_inherits_the_handler_flushes_its_own():
    """`terminate()` of a multiprocessing child is a clean way out: its records leave, not its parent's."""
    lines = run(
        """
        import multiprocessing
        configure()
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        def work():
            span("own")
            ready.set()
            time.sleep(30)
        process = context.Process(target=work)
        process.start()
        ready.wait(20)
        process.terminate()
        process.join()
        os._exit(0)
        """,
        environment=QUIET,
    )
    assert {"span own child": 1} == counted(lines)


def test_draining_is_of_this_process_alone():
    """A child forked after the signal is not on its way out."""
    lines = run("""
        from otelfork import exits
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        configure()
        os.kill(os.getpid(), signal.SIGTERM)
        pid = os.fork()
        out(exits.draining())
        if pid: reaped([pid])
        os._exit(0)
    """)
    assert ["False", "True"] == sorted(lines)


def test_a_request_that_finishes_while_draining_is_flushed_at_once():
    """Nobody may run our exit code after the last one; before the signal a request waits for its batch."""
    lines = run(
        """
        from otelfork import exits
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        configure()
        forks.ensure()
        span("before")
        exits.finish_request()
        out("request")
        os.kill(os.getpid(), signal.SIGTERM)
        span("draining")
        exits.finish_request()
        os._exit(0)
        """,
        environment=QUIET,
    )
    assert ["request", "span before parent", "span draining parent"] == lines


@pytest.mark.parametrize("before", ["signal.SIG_DFL", "lambda *_: os._exit(7)"])
def test_sigint_is_handled_where_python_would_not_leave_in_order(before):
    """The default action, or a handler of the program: what was recorded leaves first."""
    _, lines, _ = outcome(f"""
        signal.signal(signal.SIGINT, {before})
        configure()
        span("s")
        os.kill(MAIN, signal.SIGINT)
        signal.pause()
    """)
    assert ["span s parent"] == lines


def test_pythons_own_sigint_handler_is_left_alone():
    """asyncio installs its handling of Ctrl-C only over that one; atexit runs after KeyboardInterrupt anyway."""
    lines = run("""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
        configure()
        out(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """)
    assert ["True"] == lines


def test_an_aborted_process_has_less_time(spent):
    """After gunicorn's SIGABRT comes SIGKILL: a second is all there is."""
    _, given, answers = spent
    answers += [(0.1, True)]
    exits._exit.cause = exits.TIMEOUT
    exits.flush()
    assert [exits.ABORT_SECONDS] == given


def test_last_words_are_said_before_a_sigterm_that_ends_the_process():
    """What is to be recorded at the end is recorded where the default action would leave without a word."""
    code = "from otelfork import exits\nexits.before_last_flush(lambda: span('last'))\n" + RECORD + WAYS["SIGTERM"]
    _, lines, _ = outcome(code, environment=QUIET)
    assert {**WHOLE, "span last parent": 1} == counted(lines)


@pytest.mark.parametrize(("server", "method", "handled"), [("hypercorn", "spawn", True), ("other", "spawn", False)])
def test_a_worker_that_sigterm_would_end_at_once_flushes_first(tmp_path, server, method, handled):
    """hypercorn leaves its workers the default action, and sends SIGTERM to the slower ones; no other server's child is touched."""
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing, signal, sys, types
def work(answer):
    sys.modules[{server!r}] = types.ModuleType({server!r})
    import otelfork
    otelfork.OtelMiddleware(lambda environ, start_response: [])
    answer.put(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    answer = context.SimpleQueue()
    process = context.Process(target=work, args=(answer,))
    process.start()
    print(answer.get())
    process.join()
""")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == [str(handled)], done.stderr
