"""Forks: what each process exports, and that no child hangs."""

from __future__ import annotations

import pytest
from tests.fresh import counted, outcome, run

STORM = 20


def points(lines: list[str], name: str) -> dict[str, list[int]]:
    """Return the last value of a metric by process kind, in the order of arrival."""
    found: dict[str, list[int]] = {}
    for line in lines:
        words = line.split()
        if words[:2] == ["point", name]:
            found.setdefault(words[3], []).append(int(words[2]))
    return found


def test_counters_are_exact_over_forks():
    """A parent that counts 1,000 and four children that count 10 each make 1,040."""
    lines = run("""
        configure()
        counter = metrics.get_meter("m").create_counter("c")
        counter.add(1000)
        reaped([forked(lambda: counter.add(10)) for _ in range(4)])
        otelfork.flush(5)
        os._exit(0)
    """)
    assert {"parent": [1000], "child": [10, 10, 10, 10]} == points(lines, "c")


def test_nested_forks_count_their_own():
    """A grandchild exports what it counted, and nothing of its parent or grandparent."""
    lines = run("""
        configure()
        counter = metrics.get_meter("m").create_counter("c")
        counter.add(100)
        def child():
            counter.add(10)
            reaped([forked(lambda: counter.add(1))])
        reaped([forked(child)])
        otelfork.flush(5)
        os._exit(0)
    """)
    assert {"child": [1, 10], "parent": [100]} == points(lines, "c")


@pytest.mark.parametrize("fork", ["os.fork", "c_fork"])
def test_every_signal_follows_the_process(fork):
    """What was handed out before a fork records in the child for the child; a fork in C is noticed by the pid."""
    lines = run(f"""
        from opentelemetry._logs import LogRecord
        configure()
        tracer, counter, logger = trace.get_tracer("t"), metrics.get_meter("m").create_counter("c"), get_logger("l")
        def record():
            span("s", tracer)
            counter.add(1)
            logger.emit(LogRecord(body="b"))
        record()
        otelfork.flush(5)
        reaped([forked(record, {fork})])
        os._exit(0)
    """)
    expected = {f"{what} {who}": 1 for who in ("child", "parent") for what in ("point c 1", "span s", "log b")}
    assert expected == counted(lines)


@pytest.mark.parametrize("fork", ["os.fork", "c_fork"])
def test_a_span_begun_before_the_fork_is_ended_by_the_parent_alone(fork):
    """The child's copy of a running span goes nowhere when the child ends it, and parents the child's spans."""
    lines = run(f"""
        class Parented(Spans):
            def export(self, batch, *args, **kwargs):
                for span in batch:
                    out(span.name, who(), "root" if span.parent is None else span.parent.span_id == outer)
        configure(exporters={{"traces": [Parented]}})
        tracer = trace.get_tracer("t")
        with tracer.start_as_current_span("outer") as running:
            outer = running.get_span_context().span_id
            pid = {fork}()
            if pid == 0:
                span("inner", tracer)
        if pid == 0:
            os._exit(0 if otelfork.flush(5) else 1)
        reaped([pid])
        otelfork.flush(5)
        os._exit(0)
    """)
    assert {"inner child True": 1, "outer parent root": 1} == counted(lines)


def test_users_processors_and_readers_stay_in_their_process():
    """Spans and counts of the parent leave a child by no batch processor or periodic reader that a factory made."""
    lines = run("""
        from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        class Periodic(Points, MetricExporter):
            def __init__(self): MetricExporter.__init__(self)
            def force_flush(self, *args, **kwargs): return True
        configure(
            exporters={"traces": [], "metrics": [], "logs": []},
            span_processors=[lambda: BatchSpanProcessor(Spans())],
            metric_readers=[lambda: PeriodicExportingMetricReader(Periodic(), export_interval_millis=20)],
        )
        counter = metrics.get_meter("m").create_counter("c")
        counter.add(1000)
        with trace.get_tracer("t").start_as_current_span("outer"):
            pid = os.fork()
        if pid == 0:
            counter.add(10)
            span("inner")
            otelfork.flush(5)
            time.sleep(0.2)  # the revived reader of the parent would have exported by now
            os._exit(0)
        reaped([pid])
        otelfork.flush(5)
        os._exit(0)
    """)
    assert {"point c 10 child", "span inner child", "point c 1000 parent", "span outer parent"} == set(lines)


def test_a_process_that_recorded_nothing_has_no_thread_and_no_socket():
    """Configuring, taking instruments, asking for the resource, adding a processor that exports nothing: a master forks clean."""
    lines = run("""
        from opentelemetry._logs import get_logger_provider
        from opentelemetry.sdk.trace import SpanProcessor
        otelfork.configure()
        meter = metrics.get_meter("m")
        meter.create_counter("c")
        meter.create_observable_gauge("g", [lambda options: []])
        trace.get_tracer("t"), get_logger("l")
        provider = trace.get_tracer_provider()
        provider.add_span_processor(SpanProcessor())
        assert provider.resource.attributes["process.pid"] == os.getpid()
        assert provider.sampler and provider.id_generator and get_logger_provider().resource
        application = otelfork.OtelMiddleware(lambda environ, start_response: [])
        out(threads(), sockets(), forks.current())
    """)
    assert ["[] 0 None"] == lines


def test_inherited_providers_are_dropped():
    """In the child the parent's SDK providers are gone, so that the SDK's own at-fork hooks revive nothing."""
    lines = run("""
        import weakref
        configure()
        span("s")
        metrics.get_meter("m").create_counter("c").add(1)
        kinds = ("tracer_provider", "meter_provider", "logger_provider")
        inherited = [weakref.ref(getattr(forks.current(), kind)) for kind in kinds]
        pid = os.fork()
        if pid == 0:
            out([each() for each in inherited], threads())
            os._exit(0)
        reaped([pid])
        os._exit(0)
    """)
    assert ["[None, None, None] []"] == [line for line in lines if not line.startswith("span")]


def test_ids_are_unique_across_processes():
    """No child repeats the ids of its parent or of a sibling, whichever way it was forked."""
    lines = run("""
        configure(exporters={"traces": [], "metrics": [], "logs": []})
        def ids():
            for _ in range(20):
                context = trace.get_tracer("t").start_span("s").get_span_context()
                out(context.trace_id, context.span_id)
        ids()
        reaped([forked(ids, fork) for fork in (os.fork, os.fork, c_fork)])
    """)
    trace_ids, span_ids = zip(*(line.split() for line in lines), strict=True)
    assert (80, 80) == (len(set(trace_ids)), len(set(span_ids)))


STORMS = {
    "hot threads": """
        def hot():
            while True:
                span("hot", tracer)
                counter.add(0)
                histogram.record(1)
                logger.emit(LogRecord(body="b"))
                time.sleep(0.001)
        for _ in range(4):
            threading.Thread(target=hot, daemon=True).start()
    """,
    "a slow exporter": """
        Spans.slow = Points.slow = 0.03
        def hot():
            while True:
                span("hot", tracer)
                time.sleep(0.001)
        threading.Thread(target=hot, daemon=True).start()
    """,
    "a slow callback": """
        def callback(options):
            time.sleep(0.03 if os.getpid() == MAIN else 0)
            return [metrics.Observation(1)]
        metrics.get_meter("m").create_observable_gauge("g", [callback])
    """,
    "a flush": """
        Spans.slow = 0.01
        def flushing():
            while True:
                span("flushed", tracer)
                otelfork.flush(5)
        for _ in range(2):
            threading.Thread(target=flushing, daemon=True).start()
    """,
}


@pytest.mark.parametrize("busy", STORMS)
def test_no_child_of_a_storm_hangs_or_is_mute(busy):
    """Twenty forks while the parent is busy: each child exports its span, its point and its log record."""
    lines = run(
        """
        from opentelemetry._logs import LogRecord
        class Quiet(Spans):
            def export(self, batch, *args, **kwargs):
                time.sleep(self.slow if os.getpid() == MAIN else 0)
                for span in batch:
                    if span.name == "s": out("span s")
        class QuietPoints(Points):
            def export(self, data, *args, **kwargs):
                time.sleep(self.slow if os.getpid() == MAIN else 0)
                if os.getpid() != MAIN: out("points")
        class QuietLogs(Logs):
            def export(self, batch, *args, **kwargs):
                for data in batch:
                    if data.log_record.body == "mine": out("log mine")
        configure(exporters={"traces": [Quiet], "metrics": [QuietPoints], "logs": [QuietLogs]})
        tracer, logger = trace.get_tracer("t"), get_logger("l")
        counter, histogram = metrics.get_meter("m").create_counter("c"), metrics.get_meter("m").create_histogram("h")
        """
        + STORMS[busy]
        + f"""
        def record():
            span("s", tracer)
            counter.add(1)
            logger.emit(LogRecord(body="mine"))
        for _ in range({STORM}):
            reaped([forked(record)])
        os._exit(0)
        """,
        environment={
            "OTEL_BSP_SCHEDULE_DELAY": "5",
            "OTEL_BLRP_SCHEDULE_DELAY": "5",
            "OTEL_METRIC_EXPORT_INTERVAL": "5",
        },
    )
    seen = counted(lines)
    assert (STORM, STORM, True, {"span s", "log mine", "points"}) == (
        seen["span s"],
        seen["log mine"],
        seen["points"] >= STORM,
        set(seen),
    )


def test_a_fork_during_the_first_build_leaves_the_child_whole():
    """A build that takes longer than the quiet point is waited for in vain: the fork goes on, and the child builds its own."""
    lines = run("""
        started = threading.Event()
        def slow():
            started.set()
            time.sleep(0.2 if os.getpid() == MAIN else 0)
            return {"a": "b"}
        configure(resource=slow)
        first = threading.Thread(target=span, args=("first",))
        first.start()
        started.wait(5)
        reaped([forked(lambda: span("s")) for _ in range(3)])
        first.join()
        otelfork.flush(5)
        os._exit(0)
    """)
    assert {"span s child": 3, "span first parent": 1} == counted(lines)


def test_no_record_goes_to_a_no_op_while_another_thread_builds():
    """Threads that record while the first one builds wait for it: all their spans arrive."""
    lines = run("""
        started = threading.Event()
        def slow():
            started.set()
            time.sleep(0.1)
            return {}
        configure(resource=slow)
        recorders = [threading.Thread(target=span, args=("s",)) for _ in range(8)]
        recorders[0].start()
        started.wait(5)
        for recorder in recorders[1:]: recorder.start()
        for recorder in recorders: recorder.join()
        otelfork.flush(5)
        os._exit(0)
    """)
    assert {"span s parent": 8} == counted(lines)


def test_a_build_that_logs_to_a_handler_that_records_ends():
    """A log handler that waits for the build while the build waits for the handler: the wait has an end."""
    lines = run("""
        import logging
        forks.BUILD_SECONDS = 0.5
        started, logging_now = threading.Event(), threading.Event()
        class Handler(logging.Handler):
            def emit(self, record):
                logging_now.set()
                if record.msg == "from outside":
                    started.wait(5)
                    span("s")
        logging.getLogger().addHandler(Handler())
        def resource():
            started.set()
            logging.warning("from the build")
            return {}
        configure(resource=resource)
        outside = threading.Thread(target=logging.warning, args=("from outside",))
        outside.start()
        logging_now.wait(5)
        span("first")
        outside.join()
        out("done")
        os._exit(0)
    """)
    assert ["done"] == lines


def test_an_interrupt_of_the_first_build_does_not_turn_telemetry_off():
    """What is no Exception passes through the build; the next use builds again."""
    lines = run("""
        tries = []
        def interrupted():
            tries.append(1)
            if len(tries) == 1:
                raise KeyboardInterrupt
            return {}
        configure(resource=interrupted)
        try:
            span("lost")
        except KeyboardInterrupt:
            out("interrupted")
        span("s")
        otelfork.flush(5)
        os._exit(0)
    """)
    assert ["interrupted", "span s parent"] == lines


def test_a_build_that_fails_is_said_once_and_the_application_runs_on():
    """A factory that raises costs the telemetry, one line of log, and nothing else."""
    status, lines, errors = outcome("""
        def broken():
            raise RuntimeError("no resource today")
        configure(resource=broken)
        span("s"), span("s")
        out(otelfork.flush(1))
    """)
    assert (0, ["True"], 1) == (status, lines, errors.count("could not be built"))


def test_configuring_anew_ends_what_ran_before():
    """A second configure exports what the first recorded, and leaves one exporter thread."""
    lines = run("""
        configure()
        span("s")
        configure()
        out(threads())
        span("s")
        otelfork.flush(5)
        out(threads())
        os._exit(0)
    """)
    assert ["span s parent", "[]", "span s parent", "['otelfork-exporter']"] == lines


def test_a_fork_in_an_observable_callback_does_not_wait_for_itself():
    """The forking thread may be the exporter thread, which is never parked."""
    lines = run("""
        def callback(options):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            return [metrics.Observation(7)]
        configure()
        metrics.get_meter("m").create_observable_gauge("g", [callback])
        span("s")
        otelfork.flush(5)
        os._exit(0)
    """)
    assert {"span s parent": 1, "point g 7 parent": 1} == counted(lines)


def test_a_daemon_and_what_it_came_from_send_their_own():
    """Forked twice, in a session of its own, its first parents gone: each process's records arrive once, from that process."""
    lines = run("""
        configure()
        counter = metrics.get_meter("m").create_counter("c")
        def record(name, number):
            span(name)
            counter.add(number)
        record("before", 1000)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                record("of the daemon", 10)
                sys.exit(0)
            os._exit(0)
        otelfork.flush(10)
        os._exit(0)
    """)
    found = {line for line in lines if line.startswith(("span", "point c"))}
    assert {"span before parent", "point c 1000 parent", "span of the daemon child", "point c 10 child"} == found
