"""An embedded OTLP receiver that counts: gRPC and HTTP/protobuf, all signals, faults on demand.

For `otelfork verify` and for tests. It is a real server on loopback that keeps all in memory
and knows nothing of who sends. It needs the extra `cli` (grpcio, opentelemetry-proto).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import TracebackType

from otelfork.receiver.faults import ALWAYS, SIGNALS, Faults, Gate
from otelfork.receiver.intake import Intake
from otelfork.receiver.over_grpc import PROTOCOL as GRPC
from otelfork.receiver.over_grpc import GrpcServer
from otelfork.receiver.over_http import PROTOCOL as HTTP
from otelfork.receiver.over_http import HttpServer
from otelfork.receiver.records import (
    Attributes,
    ReceivedEvent,
    ReceivedExemplar,
    ReceivedLink,
    ReceivedLog,
    ReceivedPoint,
    ReceivedRequest,
    ReceivedSpan,
    Scope,
)
from otelfork.receiver.store import Store
from otelfork.receiver.tls import Tls

__all__ = [
    "ALWAYS",
    "GRPC",
    "HTTP",
    "PROTOCOLS",
    "SIGNALS",
    "Attributes",
    "Faults",
    "ReceivedEvent",
    "ReceivedExemplar",
    "ReceivedLink",
    "ReceivedLog",
    "ReceivedPoint",
    "ReceivedRequest",
    "ReceivedSpan",
    "Receiver",
    "Scope",
    "Tls",
]

PROTOCOLS = (HTTP, GRPC)
"""The values of OTEL_EXPORTER_OTLP_PROTOCOL that a receiver understands."""

_CLOSE_TIMEOUT = 5.0


class Receiver:
    """Receives OTLP on two free loopback ports from construction until `close`, or for a `with` block.

    The keyword arguments are the fields of `Faults`: `Receiver(drop=1)` acknowledges the first export
    request of each signal and forgets it; `tls` makes both ports speak TLS. All methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        refuse: int = 0,
        hang: int = 0,
        drop: int = 0,
        double: int = 0,
        delay: float = 0.0,
        status: int = 503,
        retry_after: float | None = None,
        signals: Collection[str] = SIGNALS,
        tls: Tls | None = None,
    ) -> None:
        faults = Faults(refuse, hang, drop, double, delay, status, retry_after, signals)
        self._store = Store()
        self._gate = Gate(faults)
        intake = Intake(self._store, self._gate)
        self._http = HttpServer(intake, tls)
        self._grpc = GrpcServer(intake, tls)
        self._open = True
        self._http.start()
        self._grpc.start()

    def __enter__(self) -> Receiver:  # noqa: PYI034 - Self is not in the typing of 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop receiving and end every connection and thread; what was received can still be read."""
        if not self._open:
            return
        self._open = False
        self._gate.close()
        self._grpc.close(_CLOSE_TIMEOUT)
        self._http.close(_CLOSE_TIMEOUT)

    @property
    def http_endpoint(self) -> str:
        """The base URL for OTLP over HTTP, without `/v1/traces` and the like."""
        return self._http.endpoint

    @property
    def grpc_endpoint(self) -> str:
        """The URL for OTLP over gRPC."""
        return self._grpc.endpoint

    @property
    def spans(self) -> list[ReceivedSpan]:
        """A copy of the spans received so far, in order of arrival."""
        return self._store.spans

    @property
    def points(self) -> list[ReceivedPoint]:
        """A copy of the metric data points received so far, in order of arrival."""
        return self._store.points

    @property
    def logs(self) -> list[ReceivedLog]:
        """A copy of the log records received so far, in order of arrival."""
        return self._store.logs

    @property
    def requests(self) -> list[ReceivedRequest]:
        """A copy of the export requests received so far, those that met a fault too."""
        return self._store.requests

    @property
    def faults(self) -> Faults:
        """The faults in force. Setting others counts from zero and lets go what hangs or waits."""
        return self._gate.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._gate.replace(faults)

    def count_requests(self, *, protocol: str | None = None, signal: str | None = None) -> int:
        """Count the export requests so far, of one protocol or signal or of all."""
        return sum(
            protocol in {None, request.protocol} and signal in {None, request.signal}
            for request in self._store.requests
        )

    def clear(self) -> None:
        """Forget everything received so far; faults and batch numbers go on."""
        self._store.clear()

    def wait_for(self, predicate: Callable[[Receiver], object], timeout: float) -> bool:
        """Wait at most `timeout` seconds until `predicate(receiver)` is true; return whether it is.

        The predicate is asked again after each arrival, while nothing else can arrive: it must not block.
        """
        return self._store.wait_for(lambda: predicate(self), timeout)

    def wait_until_quiet(self, *, quiet: float = 0.3, timeout: float = 10.0) -> bool:
        """Wait at most `timeout` seconds until nothing arrived for `quiet` seconds; return whether so."""
        return self._store.wait_until_quiet(quiet, timeout)

    def environment(self, protocol: str = HTTP) -> dict[str, str]:
        """Return the OTEL_* variables that make a program send all three signals here.

        `protocol` is `http/protobuf` or `grpc`; raises ValueError for others.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol={protocol!r} is not valid: expected one of {', '.join(PROTOCOLS)}")
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.grpc_endpoint if protocol == GRPC else self.http_endpoint,
        }
