"""The gRPC call: which codes may pass, how long it may last, what its answer tells."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.fresh import outcome
from tests.unit.exporting import soon

from otelfork.delivery.outcome import Tries, watching
from otelfork.exporters import rpc
from otelfork.receiver import GRPC, Receiver

RETRY_IN_TWO = b"\x0a\x02\x08\x02"


class Refused(grpc.RpcError):
    """An error with a code and trailers."""

    def __init__(self, code, trailers=()):
        self._code, self._trailers = code, trailers

    def code(self):
        return self._code

    def trailing_metadata(self):
        return self._trailers


class Channel:
    """A channel whose calls raise or answer, and remember their timeouts."""

    def __init__(self, answer):
        self.answer = answer
        self.timeouts = []

    def unary_unary(self, method, request_serializer, response_deserializer):
        return Method(self)


class Method:
    """One method of such a channel."""

    def __init__(self, channel):
        self.channel = channel

    def future(self, request, metadata, timeout):
        self.channel.timeouts.append(timeout)
        return SimpleNamespace(result=lambda: self(request, metadata, timeout), cancel=lambda: None)

    def __call__(self, request, metadata, timeout):
        if isinstance(self.channel.answer, Exception):
            raise self.channel.answer
        return self.channel.answer


def called(channel, deadline=None):
    """Export once; return what was heard."""
    stub = rpc.stub("/service/Export")(channel)
    with (
        watching(soon() if deadline is None else deadline, Tries()) as result,
        contextlib.suppress(grpc.RpcError),
    ):
        stub.Export(request=b"x", metadata=(), timeout=10.0)
    return result


@pytest.mark.parametrize(
    ("code", "trailers", "passing"),
    [
        (grpc.StatusCode.UNAVAILABLE, (), True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, (), True),
        (grpc.StatusCode.ABORTED, (), True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (), False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (("google.rpc.retryinfo-bin", RETRY_IN_TWO),), True),
        (grpc.StatusCode.INVALID_ARGUMENT, (), False),
        (grpc.StatusCode.UNAUTHENTICATED, None, False),
    ],
)
def test_each_code_is_what_the_specification_says(code, trailers, passing):
    """RESOURCE_EXHAUSTED passes only where the collector says when."""
    assert passing == called(Channel(Refused(code, trailers))).passing


def test_the_users_own_codes_are_kept(monkeypatch):
    """The variable of the standard exporter replaces the list."""
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES", "internal")
    found = [called(Channel(Refused(code))).passing for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)]
    assert [True, False] == found


def test_the_deadline_bounds_the_call():
    """A flush of a second has calls of a second."""
    channel = Channel(b"")
    called(channel, soon(1.0))
    assert 0 < channel.timeouts[0] <= 1.0


def test_a_partial_success_is_heard():
    """The standard exporter throws the answer away."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    assert called(Channel(response.SerializeToString())).rejected == 2


def test_an_export_needs_no_thread():
    """Where the system refuses gRPC the thread that it waits on, each flush hands all over, and the process ends."""
    with Receiver() as receiver:
        status, lines, errors = outcome(
            """
            from opentelemetry._logs import LogRecord
            otelfork.configure()
            def refuse(_):
                raise RuntimeError("can't start new thread")
            def record():
                span("s")
                metrics.get_meter("m").create_counter("c").add(1)
                get_logger("l").emit(LogRecord(body="b"))
                return otelfork.flush(10)
            first = record()
            threading.Thread.start = refuse
            out(first, record(), record())
            """,
            environment={**receiver.environment(GRPC), "OTEL_BSP_SCHEDULE_DELAY": "60000"},
        )
        arrived = len({span.span_id for span in receiver.spans}), {log.body for log in receiver.logs}
        counted = max(point.value for point in receiver.points if point.name == "c")
    assert (0, ["True True True"], "", (3, {"b"}), 3) == (status, lines, errors, arrived, counted)


def test_flushes_at_the_exit_hand_all_over_on_every_python():
    """Some versions of CPython start no thread at the exit: what is recorded there arrives, and once."""
    with Receiver() as receiver:
        status, lines, errors = outcome(
            """
            import atexit
            otelfork.configure()
            def late():  # before the flush of the exit, which was registered before it
                for name in "abc":
                    span(name)
                    out(otelfork.flush(10))
            span("early")
            atexit.register(late)
            """,
            environment={**receiver.environment(GRPC), "OTEL_BSP_SCHEDULE_DELAY": "60000"},
        )
        names = sorted(span.name for span in receiver.spans)
    assert (0, ["True"] * 3, "", [*"abc", "early"]) == (status, lines, errors, names)


def test_what_may_arrive_twice_is_counted():
    """A call that was begun without a thread to wait on is made once more, and the next ones without a try."""
    channel = Channel(b"")
    stub = rpc.stub("/service/Export")(channel)
    begun = []

    def refuse(_self, request, metadata, timeout):
        begun.append(request)
        raise RuntimeError("can't start new thread")

    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Method, "future", refuse)
        for _ in range(2):
            with watching(soon(), Tries()) as result:
                stub.Export(request=b"x", metadata=(), timeout=10.0)
            told.append(result.twice)
    assert ([b"x"], [True, False]) == (begun, told)
