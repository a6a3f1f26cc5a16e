"""The faults that the embedded receiver acts out, seen from those who send to it."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from tests.unit.posting import DEADLINE, call, export_one, post, request_of

from otelfork.receiver import ALWAYS, GRPC, PROTOCOLS, Faults, Receiver

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_dropped_batch_is_acknowledged_and_forgotten(protocol: str) -> None:
    """A dropping receiver answers success for the first request and keeps only the second."""
    with Receiver(drop=1) as receiver:
        results = [export_one(receiver, protocol, name) for name in ("first", "second")]
        names = [span.name for span in receiver.spans]
    assert (results, names) == ([SpanExportResult.SUCCESS] * 2, ["second"])


def test_a_doubled_batch_is_stored_twice(protocol: str) -> None:
    """A doubling receiver keeps the first request twice, as two batches, and the second once."""
    with Receiver(double=1) as receiver:
        for name in ("first", "second"):
            export_one(receiver, protocol, name)
        got = [(span.name, span.batch) for span in receiver.spans]
    assert got == [("first", 1), ("first", 2), ("second", 3)]


def test_a_refusal_asks_for_a_retry_over_http() -> None:
    """A refusing receiver answers its status with Retry-After, then recovers."""
    with Receiver(refuse=1, status=429, retry_after=7) as receiver:
        first, second = post(receiver, request_of(1)), post(receiver, request_of(1))
        stored = len(receiver.spans)
    assert (first.status, first.headers["retry-after"], second.status, stored) == (429, "7", 200, 1)


def test_a_refusal_asks_for_a_retry_over_grpc() -> None:
    """Over gRPC a refusal is UNAVAILABLE with a google.rpc.RetryInfo that the official proto can read."""
    from google.rpc.error_details_pb2 import RetryInfo

    with Receiver(refuse=ALWAYS, retry_after=1.5) as receiver:
        error = call(receiver)
    info = RetryInfo.FromString(dict(error.trailing_metadata())["google.rpc.retryinfo-bin"])
    assert (error.code(), info.retry_delay.ToTimedelta().total_seconds()) == (grpc.StatusCode.UNAVAILABLE, 1.5)


def test_the_official_exporter_retries_a_refusal(protocol: str) -> None:
    """An exporter that was refused comes again, and its span is stored once."""
    with Receiver(refuse=1, retry_after=0.01) as receiver:
        result = export_one(receiver, protocol)
        outcomes = [request.outcome for request in receiver.requests]
        stored = len(receiver.spans)
    assert (result, outcomes, stored) == (SpanExportResult.SUCCESS, ["refused", "stored"], 1)


def test_faults_meet_only_their_signals() -> None:
    """A fault for one signal leaves the others alone."""
    with Receiver(refuse=ALWAYS, signals=["metrics"]) as receiver:
        statuses = [post(receiver, path=f"/v1/{signal}").status for signal in ("traces", "metrics", "logs")]
    assert statuses == [200, 503, 200]


def test_a_delay_holds_the_answer_back() -> None:
    """A delayed request is answered no sooner than the delay."""
    with Receiver(delay=0.2) as receiver:
        begin = time.monotonic()
        post(receiver)
        waited = time.monotonic() - begin
    assert waited >= 0.2


def test_a_hung_request_is_not_answered(protocol: str) -> None:
    """A hanging receiver answers nothing until its client gives up."""
    with Receiver(hang=ALWAYS) as receiver:
        if protocol == GRPC:
            outcome: object = call(receiver, timeout=0.2).code()
            assert outcome == grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            with socket.create_connection(("127.0.0.1", int(receiver.http_endpoint.rpartition(":")[2]))) as client:
                client.settimeout(0.2)
                client.sendall(
                    b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
                )
                with pytest.raises(TimeoutError):
                    client.recv(1)


def test_healing_lets_go_what_hangs() -> None:
    """Other faults put in force release what hangs, and hold for the next request."""
    with Receiver(hang=ALWAYS) as receiver, ThreadPoolExecutor(1) as pool:
        hung = pool.submit(call, receiver)
        receiver.wait_for(lambda now: now.count_requests() == 1, DEADLINE)
        receiver.faults = Faults()
        first, second = hung.result(DEADLINE), call(receiver)
    assert (first.code(), second) == (grpc.StatusCode.CANCELLED, None)


@pytest.mark.parametrize("bad", [{"drop": -1}, {"status": 200}, {"signals": ["profiles"]}])
def test_faults_that_mean_nothing_are_refused(bad: dict[str, Any]) -> None:
    """A fault that cannot be acted out is a ValueError that names the option."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        Receiver(**bad)
