"""The page as a whole: masters, forks, flushes, and a process without a run."""

from __future__ import annotations

import pytest
from tests.fresh import run

ON = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
READING = """
import socket, urllib.request
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"] = str(port)
def page():
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        except OSError:
            time.sleep(0.02)
def shown(name):
    return [line.rpartition(" ")[2] for line in page().splitlines() if line.startswith(name)]
counter = metrics.get_meter("app").create_counter("app.work")
gauge = metrics.get_meter("app").create_gauge("app.level")
"""


@pytest.fixture
def said(tmp_path):
    """Return what runs a script in a fresh interpreter, with a run of its own."""

    def run_script(script, **environment):
        return run(READING + script, environment={**ON, "OTELFORK_RUN_DIR": str(tmp_path / "run"), **environment})

    return run_script


def test_a_master_that_recorded_nothing_has_no_thread_and_no_socket(said):
    """Configuring builds nothing."""
    lines = said("otelfork.configure(); out(threads(), sockets(), os.path.exists(os.environ['OTELFORK_RUN_DIR']))")
    assert ["[] 0 False"] == lines


def test_a_process_without_a_run_shows_itself(said):
    """Where there is no scoreboard the page has its own figures, without a worker's label."""
    lines = said("otelfork.configure(); counter.add(3); gauge.set(2); out(shown('app_'))", OTELFORK_SCOREBOARD="false")
    assert ["['3.0', '2.0']"] == lines


def test_a_flush_brings_the_slot_up_to_date(said):
    """What a worker counted until its last moment stands on the page when it is gone, and its gauge does not."""
    script = """
otelfork.configure()
counter.add(1)
def work():
    counter.add(5)
    gauge.set(1)
reaped([forked(work) for _ in range(3)])
out(shown("app_"))
"""
    assert ["['16.0']"] == said(script)


def test_a_fork_in_c_is_a_worker_of_its_own(said):
    """The child's figures are its own, and the parent's stay the parent's."""
    script = """
otelfork.configure()
counter.add(1)
page()
reaped([forked(lambda: counter.add(5), c_fork)])
out(shown("app_"))
"""
    assert ["['6.0']"] == said(script)


def test_forks_while_pages_are_made(said):
    """Children that are forked while the parent collects count, flush and end."""
    script = """
otelfork.configure()
counter.add(1)
page()
stop = threading.Event()
def scrape():
    while not stop.is_set(): page()
scraping = threading.Thread(target=scrape)
scraping.start()
for _ in range(5):
    reaped([forked(lambda: counter.add(1)) for _ in range(4)])
stop.set()
scraping.join()
out(shown("app_"))
"""
    assert ["['21.0']"] == said(script)


def test_after_the_shutdown_the_port_is_free_and_the_count_stays(said):
    """A new generation of the process has the port again, and counts on."""
    script = """
otelfork.configure()
counter.add(1)
page()
otelfork.shutdown()
otelfork.configure()
counter.add(1)
out(shown("app_"))
"""
    assert ["['2.0']"] == said(script)


def test_a_list_has_prometheus_beside_others(said):
    """Each reader has the whole."""
    script = """
otelfork.configure()
counter.add(2)
otelfork.flush(5)
out(shown("app_"))
"""
    lines = said(script, OTEL_METRICS_EXPORTER="console,prometheus")
    assert (True, True) == (any('"value": 2' in line for line in lines), "['2.0']" in lines)
