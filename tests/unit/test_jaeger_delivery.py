"""Jaeger behind a queue: what may pass is sent again, what may not is dropped and said, nothing is sent twice that was taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from tests import certificates, fresh
from tests.collecting import Collector, collecting
from tests.jaegeroracle import decode
from tests.unit.exporting import soon, stream
from tests.unit.test_jaeger import settings_for, span

from otelfork.delivery.complaints import Complaints
from otelfork.delivery.streams import Stream
from otelfork.exporters.jaeger import JaegerExporter
from otelfork.settings import Environment, SettingsError
from otelfork.settings.jaeger import JaegerSettings

TRACES = "/api/traces"
Queue = tuple[Stream[ReadableSpan], Complaints]


def queue(url: str, **changes: object) -> Queue:
    """Return a queue in front of the exporter, and who counts its losses."""
    complaints = Complaints()
    return stream(JaegerExporter(settings_for(url, **changes)), complaints=complaints), complaints


def drained(waiting: Stream[ReadableSpan]) -> bool:
    """Try again, without waiting for the moment."""
    waiting.backoff.again = 0.0
    return waiting.drain(soon(), everything=True)


def names(collector: Collector) -> list[str]:
    """Return the names of the spans that were taken: of each post that was answered well."""
    return [found.operationName for posted in collector.posted for found in decode(posted.body).spans]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_refusal_waits_and_is_delivered_once(status: int):
    """One try, then the span is back at the head of its queue; the collector takes it at the next, and no third follows."""
    with collecting(status, 202) as collector:
        waiting, complaints = queue(collector.url(TRACES))
        waiting.put(span())
        tries = [(drained(waiting), len(collector.posted), waiting.waiting) for _ in range(3)]
    assert [(False, 1, 1), (True, 2, 0), (True, 2, 0)] == tries
    assert {} == complaints.totals()


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_a_lasting_refusal_is_dropped_and_said(status: int, caplog: pytest.LogCaptureFixture):
    """Once; what comes after it is sent as ever."""
    with collecting(status, 202) as collector:
        waiting, complaints = queue(collector.url(TRACES))
        waiting.put(span(name="refused"))
        drained(waiting)
        complaints.say()
        waiting.put(span(name="taken"))
        drained(waiting)
    assert (["refused", "taken"], {("spans", "export_failed"): 1}) == (names(collector), complaints.totals())
    assert str(status) in " ".join(record.getMessage() for record in caplog.records if record.name == "otelfork")


def test_no_answer_is_waited_for():
    """Nobody listens: the span stays."""
    with collecting() as collector:
        url = collector.url(TRACES)
    waiting, complaints = queue(url)
    waiting.put(span())
    assert (False, 1, {}) == (drained(waiting), waiting.waiting, complaints.totals())


def test_retry_after_is_obeyed():
    """For as long as the collector asks."""
    with collecting(503, Retry_After="60") as collector:
        waiting, _ = queue(collector.url(TRACES))
        waiting.put(span())
        waiting.drain(soon(), everything=True)
    assert waiting.backoff.again > soon(50)


def test_a_batch_of_two_processes_waits_as_a_whole():
    """The first is refused for now: that the second would be taken does not hide it."""
    with collecting(503, 202) as collector:
        waiting, complaints = queue(collector.url(TRACES))
        waiting.put(span(name="first"))
        waiting.put(span(name="second", resource=Resource({"service.name": "other"})))
        outcomes = [drained(waiting) for _ in range(2)]
    assert ([False, True], ["first", "first", "second"], {}) == (outcomes, names(collector), complaints.totals())


def test_a_span_that_cannot_be_translated_is_counted_alone():
    """The others were delivered."""
    with collecting() as collector:
        waiting, complaints = queue(collector.url(TRACES))
        waiting.put(span(name="good"))
        waiting.put(span(start_time="yesterday"))
        drained(waiting)
    assert (["good"], {("spans", "rejected"): 1}) == (names(collector), complaints.totals())


def test_the_certificate_is_trusted_alone(tmp_path: Path):
    """OTEL_EXPORTER_JAEGER_CERTIFICATE names the authority of a collector that speaks TLS."""
    made = certificates.make(tmp_path)
    results = []
    with collecting(tls=made.tls().context()) as collector:
        for certificate in ("", str(made.authority)):
            waiting, _ = queue(collector.url(TRACES), certificate=certificate)
            waiting.put(span())
            results.append(drained(waiting))
    assert ([False, True], 1) == (results, len(collector.posted))


def test_a_certificate_that_is_no_file_is_an_error(tmp_path: Path):
    """It names the variable."""
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_JAEGER_CERTIFICATE"):
        JaegerSettings.read(Environment({"OTEL_EXPORTER_JAEGER_CERTIFICATE": str(tmp_path / "none.pem")}))


STORM = """
import threading
def work(name):
    tracer = trace.get_tracer("storm")
    for number in range(10):
        with tracer.start_as_current_span(f"{name} {number}"):
            pass

def busy(name):
    hands = [threading.Thread(target=work, args=(f"{name}-{hand}",)) for hand in range(3)]
    [hand.start() for hand in hands]
    [hand.join() for hand in hands]

otelfork.configure(service_name="storm")
noise = threading.Thread(target=busy, args=("parent",))
noise.start()
pids = [forked(lambda: busy(f"child{number}")) for number in range(8)]
noise.join()
reaped(pids)
out("parent", otelfork.flush(15))
"""


def test_threads_and_forks_deliver_everything_once():
    """Children forked while the parent's threads record and export: every span of all of them, each once."""
    with collecting(503, 202) as collector:
        environment = {
            "OTEL_TRACES_EXPORTER": "jaeger",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "1",
            "OTEL_EXPORTER_JAEGER_ENDPOINT": collector.url(TRACES),
        }
        lines = fresh.run(STORM, environment=environment)
        taken = names(collector)
        refused = [found.operationName for found in decode(collector.posted[0].body).spans]
    who = ["parent", *(f"child{number}" for number in range(8))]
    expected = [f"{each}-{hand} {number}" for each in who for hand in range(3) for number in range(10)]
    assert ["parent True"] == lines
    assert sorted(expected + refused) == sorted(taken)
