"""The gRPC call of the standard exporters, with bytes that are encoded already, and with ears: what was answered is told."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

import grpc  # type: ignore[import-untyped]

from otelfork.delivery.outcome import Outcome, watched
from otelfork.exporters.answers import note_response, note_retry_info, note_status_details
from otelfork.settings import Environment

_PASSING = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
"""OTLP specification, "Failures". RESOURCE_EXHAUSTED passes only with a RetryInfo: without one the request is too large."""
_NO_THREADS_AT_EXIT = {(3, 12, 0), (3, 12, 1)}
"""https://github.com/python/cpython/issues/113964."""
_CHOSEN = "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES"


def one_try() -> frozenset[grpc.StatusCode]:
    """Return the `retryable_error_codes` of an exporter that shall try once: no error has the code OK."""
    return frozenset({grpc.StatusCode.OK})


def stub(method: str) -> type:
    """Return a stand-in for the generated stub of one service, for the standard exporters."""

    class Stub:
        def __init__(self, channel: Any) -> None:
            call = channel.unary_unary(method, request_serializer=_serialized, response_deserializer=None)
            self.Export = functools.partial(_export, _Method(call), _passing())

    return Stub


def _passing() -> frozenset[str]:
    chosen = Environment().names(_CHOSEN)
    return frozenset(name.upper() for name in chosen or _PASSING)


def _serialized(request: Any) -> bytes:
    packed: bytes = request if isinstance(request, bytes) else request.SerializeToString()
    return packed


def _export(method: _Method, passing: frozenset[str], request: Any, metadata: Any = None, timeout: float = 10.0) -> Any:
    result = watched()
    if result is None:
        return method.call(request, metadata=metadata, timeout=timeout)
    try:
        answer = method.answer(result, request, metadata, timeout)
    except grpc.RpcError as error:
        _note(result, passing, error)
        raise
    note_response(result, answer)
    return answer


class _Method:
    """One method of one channel, called so that another thread may end it: a fork that waits cannot wait for a slow collector.

    gRPC waits for such calls on a thread of its own. Where none can be had it would wait for ever, from the second call on: this
    thread waits itself then, as long as a call may last.
    """

    def __init__(self, call: Any) -> None:
        self.call = call
        self._threads = True

    def answer(self, result: Outcome, request: Any, metadata: Any, timeout: float) -> Any:
        """Return the answer, or raise an RpcError."""
        future = None
        if self._threads and not _too_late():
            try:
                future = self.call.future(request, metadata=metadata, timeout=result.left(timeout))
            except RuntimeError:
                # What was begun is under way all the same, and nobody hears of its end: it may arrive twice.
                self._threads, result.twice = False, True
        result.in_c = True
        if future is None:
            return self.call(request, metadata=metadata, timeout=result.left(timeout))
        result.cancel = future.cancel
        try:
            return future.result()
        except grpc.FutureCancelledError:
            raise future from None  # which is an RpcError, with the code CANCELLED
        finally:
            result.cancel = None


def _too_late() -> bool:
    """Tell whether this interpreter starts no thread any more: CPython 3.12.0 and 3.12.1 do not, once the main thread has ended."""
    return sys.version_info[:3] in _NO_THREADS_AT_EXIT and not threading.main_thread().is_alive()


def _note(result: Outcome, passing: frozenset[str], error: Any) -> None:
    code = error.code().name
    for name, value in error.trailing_metadata() or ():
        if name == "google.rpc.retryinfo-bin":
            note_retry_info(result, value)
        elif name == "grpc-status-details-bin":
            note_status_details(result, value)
    result.passing = code in passing or (code == "RESOURCE_EXHAUSTED" and result.retry_after is not None)
