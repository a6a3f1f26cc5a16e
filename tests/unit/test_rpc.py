"""The gRPC call: which codes may pass, how long it may last, what its answer tells."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.unit.exporting import soon

from otelfork.delivery import outcome
from otelfork.exporters import rpc

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
        return SimpleNamespace(future=self._future)

    def _future(self, request, metadata, timeout):
        self.timeouts.append(timeout)
        return SimpleNamespace(result=self._result, cancel=lambda: None)

    def _result(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def called(channel, deadline=None):
    """Export once; return what was heard."""
    stub = rpc.stub("/service/Export")(channel)
    with (
        outcome.watching(soon() if deadline is None else deadline, outcome.Tries()) as result,
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
