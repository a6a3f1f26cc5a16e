"""OTLP over gRPC (OTLP specification, section OTLP/gRPC): the three Export services, with raw message bytes.

It must not know records; `intake` takes the bodies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc  # type: ignore[import-untyped,unused-ignore]
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped,unused-ignore]

from otelfork.receiver.faults import Faults, Outcome
from otelfork.receiver.intake import Intake, MalformedRequestError
from otelfork.receiver.tls import Tls

PROTOCOL = "grpc"

_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
_THREADS = 64  # a hung request keeps its thread, the others must go on
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}


class GrpcServer:
    """The gRPC side of a receiver, on a free port of the loopback interface."""

    def __init__(self, intake: Intake, tls: Tls | None = None) -> None:
        self._intake = intake
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="otelfork-receiver-grpc")
        self._server = grpc.server(
            self._threads,
            handlers=[_service(name, self._export(signal)) for signal, name in _SERVICES.items()],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
        )
        self._scheme = "http" if tls is None else "https"
        if tls is None:
            self._port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self._port = self._server.add_secure_port("127.0.0.1:0", tls.credentials())

    @property
    def endpoint(self) -> str:
        """The URL, whose scheme tells exporters whether to use TLS."""
        return f"{self._scheme}://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begin to accept calls."""
        self._server.start()

    def close(self, timeout: float) -> None:
        """Cancel what runs and end every thread, waiting at most `timeout` seconds for the calls."""
        self._server.stop(grace=None).wait(timeout)
        self._threads.shutdown(wait=True)

    def _export(self, signal: str) -> Callable[[bytes, Any], bytes]:
        def export(body: bytes, context: Any) -> bytes:
            headers = {key: str(value) for key, value in context.invocation_metadata()}
            try:
                with self._intake.store.handling():
                    outcome, faults = self._intake.take(signal, PROTOCOL, body, headers=headers, size=len(body))
            except MalformedRequestError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            if outcome is Outcome.HUNG:
                self._intake.gate.hang()
                context.abort(grpc.StatusCode.CANCELLED, "hung")
            if outcome is Outcome.REFUSED:
                _refuse(context, faults)
            return b""  # an empty Export*ServiceResponse

        return export


def _service(name: str, export: Callable[[bytes, Any], bytes]) -> Any:
    return grpc.method_handlers_generic_handler(name, {"Export": grpc.unary_unary_rpc_method_handler(export)})


def _refuse(context: Any, faults: Faults) -> NoReturn:
    if faults.retry_after is not None:
        context.set_trailing_metadata((("google.rpc.retryinfo-bin", _retry_info(faults.retry_after)),))
    context.abort(_CODES.get(faults.status, grpc.StatusCode.INTERNAL), f"refused as HTTP {faults.status} would")
    raise AssertionError("abort raises")  # for the type checker


def _retry_info(seconds: float) -> bytes:
    """Return a google.rpc.RetryInfo, packed by hand: its field 1 is a Duration."""
    fraction, whole = math.modf(seconds)
    duration: bytes = Duration(seconds=int(whole), nanos=int(fraction * 1e9)).SerializeToString()
    return bytes([0x0A, len(duration)]) + duration
