"""The telemetry of one request while it runs: one span, one duration, the same in the span and in the metrics.

The edges tell it what happens, in their own order; it begins once, ends once, and never raises into them. It knows neither
environ nor scope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter_ns, time_ns
from typing import Any, TypeAlias, final

from opentelemetry import trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, Status, StatusCode

from otelfork import exits, semconv
from otelfork.request import attributes, naming, oldnames
from otelfork.request.addresses import resolve
from otelfork.request.capturing import capture
from otelfork.request.facts import Request, text
from otelfork.request.hooks import once
from otelfork.request.instruments import Instruments
from otelfork.request.origin import parent_context, recorded
from otelfork.settings.http import HttpSettings

Carrier: TypeAlias = "Mapping[str, Any]"
FindRoute: TypeAlias = "Callable[[Carrier, int | None], str | None]"

MARK = "otelfork.exchange"
"""Key in environ or scope under which a middleware inside another one finds the exchange that already runs."""
DISCONNECT = "client_disconnect"
"""`error.type` of a request whose client left before the response was complete."""
INCOMPLETE = "incomplete_response"
"""`error.type` of a request that the application ended without a complete response."""

_CAUSES = {exits.TIMEOUT: "the server ended the worker, which had not answered for too long"}


@final
class Exchange:
    """One request under way. Count bytes in `received` and `sent`; call `end` when the last byte is out.

    Attributes:
        context: what has to be current while the application runs.
        span: the SERVER span.
        settings: what the middleware was told to record, hide and add.
        received: bytes of the request's body that the application took.
        route: the template that the framework chose, None before it is known and where there is none.
        sent: bytes of the response's body that it gave.
        status: the response's status code, None before there is one.
        finished_at: reading of `perf_counter_ns` when the last byte went out, where `end` comes later.
        carriers: environs or scopes in which the route is looked for, the innermost last.
    """

    __slots__ = (
        "_error_type", "_failed", "_find_route", "_instruments", "_lean", "_method", "_name", "_over", "_path", "_renamed", "_row",
        "_scheme", "_server", "_started", "_started_wall", "_version", "_websocket", "carriers", "context", "ended", "extra",
        "finished_at", "received", "route", "sent", "settings", "span", "status",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        carrier: Carrier,
        getter: Getter[Any],
        instruments: Instruments,
        settings: HttpSettings,
        *,
        find_route: FindRoute,
        details: tuple[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._started_wall = time_ns()
        self._started = perf_counter_ns()
        addresses = resolve(request, settings)
        method = attributes.method_name(request.method, settings)
        name = semconv.UNKNOWN_METHOD_NAME if method == semconv.OTHER_METHOD else method
        parent = parent_context(carrier, getter)
        sender = trace.get_current_span(parent).get_span_context()
        lane = instruments.lane
        self._lean = lane is not None and details is None and not settings.old_names
        if lane is not None and self._lean:
            key = (
                method,
                addresses.scheme,
                addresses.server,
                addresses.server_port,
                request.version,
                request.websocket,
            )
            shared = instruments.shared(key, attributes.common, addresses, method, request)
            own = attributes.own(request, addresses, method, settings)
            sent = sender if sender.is_valid else None
            self.span = lane.start(name, parent, sent, own, self._started_wall, shared)
        else:
            found = attributes.of_request(request, addresses, method, settings)
            if details is not None:
                name = details[0]
                found.update(details[1])
            self.span = instruments.tracer.start_span(
                name, context=parent, kind=SpanKind.SERVER, attributes=found, start_time=self._started_wall
            )
        self.carriers: list[Carrier] = [carrier]
        self.context = recorded(request, self.carriers, self.span, parent)
        self._instruments = instruments
        self.settings = settings
        self._find_route = find_route
        self._method = method
        self._path = request.path
        self._scheme = addresses.scheme
        self._version = semconv.PROTOCOL_VERSIONS.get(request.version)
        self._websocket = request.websocket
        self._name = name
        self._renamed = details is not None
        self._error_type: str | None = None
        self._failed: str | None = None
        self.extra: dict[str, Any] | None = None
        self.received = 0
        self.route: str | None = None
        self.sent = 0
        self.status: int | None = None
        self.finished_at: int | None = None
        self.ended = False
        self._row = 0
        board = instruments.board
        if board is not None:
            seen = self.span.get_span_context()
            self._row = board.begin(
                seen.trace_id,
                seen.span_id,
                sender.span_id,
                seen.trace_flags,
                self._started_wall,
                f"{method} {request.path}",
            )
        server = self._server = None if instruments.old is None else (addresses.server, addresses.server_port)
        running = (method, addresses.scheme) if server is None else (method, addresses.scheme, *server, self._version)
        self._over = instruments.begin(running, self.context)

    def respond(self, status: int | None, headers: Iterable[tuple[str, str]]) -> None:
        """Note the response's status and those of its headers that are wanted. The last call before the end counts."""
        self.status = status
        # Looked for now, because Flask takes its request out of the environ before the call returns.
        self._find_out_route()
        wanted = self.settings.response_headers
        if wanted is not None and self.span.is_recording():
            captured = capture(headers, wanted, self.settings)
            self.note({semconv.RESPONSE_HEADER + name: tuple(values) for name, values in captured.items()})

    def note(self, found: Mapping[str, Any]) -> None:
        """Keep span attributes that are set, all at once, at the end."""
        if found:
            self.extra = {**self.extra, **found} if self.extra else dict(found)

    def fail(self, error: BaseException) -> None:
        """Record an exception that leaves the application. It is for the caller to let it go on."""
        if self.ended:
            return
        try:
            cause = exits.cause() if isinstance(error, SystemExit) else None
            self._error_type = cause or _qualified_name(type(error))
            self._failed = f"{self._error_type}: {_message(error)}" if cause is None else _CAUSES.get(cause, cause)
            self.span.record_exception(error)
        except Exception:
            once("an exception could not be recorded", "fail")

    def cut(self, reason: str) -> None:
        """Note that the response ended early for a reason that is no exception (`DISCONNECT`, `INCOMPLETE`)."""
        if self._error_type is None:
            self._error_type = reason

    def finish(self) -> None:
        """Stop the clock: the last byte is out, and only `end` is still to come."""
        if self.finished_at is None:
            self.finished_at = perf_counter_ns()

    def bodiless(self) -> bool:
        """Tell whether the response has no body on the wire, whatever the application gave (RFC 9110, section 6.4.1)."""
        status = self.status
        return self._method == "HEAD" or (status is not None and (status in {204, 304} or status < 200))

    def end(self) -> None:
        """End the span and record the metrics, the first time this is called."""
        if self.ended:
            return
        self.ended = True
        finished_at = self.finished_at
        elapsed = (perf_counter_ns() if finished_at is None else finished_at) - self._started
        instruments = self._instruments
        try:
            if instruments.board is not None:
                instruments.board.end(self._row)
            self._over()
            self._record(instruments, elapsed)
        except Exception:
            once("the end of a request could not be recorded", "end")
        finally:
            self.carriers.clear()
            try:
                self.span.end(self._started_wall + elapsed)
            except Exception:
                once("a request's span could not be ended", "span.end")

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers to add to the response, by the settings."""
        settings = self.settings
        seen = self.span.get_span_context()
        trace_id = trace.format_trace_id(seen.trace_id)
        parent = f"00-{trace_id}-{trace.format_span_id(seen.span_id)}-{seen.trace_flags:02x}"
        added: list[tuple[str, str]] = []
        if settings.traceresponse:
            added.append(("traceresponse", parent))
        if settings.server_timing:
            added.append(("server-timing", f'traceparent;desc="{parent}"'))
        if settings.trace_id_header:
            added.append((settings.trace_id_header, trace_id))
        return added

    def _record(self, instruments: Instruments, elapsed: int) -> None:
        self._find_out_route()
        route = self.route
        status = self.status
        error_type = self._error_type
        if error_type is None and status is not None and status >= 500:
            error_type = str(status)
        if self.span.is_recording():
            self._describe(status, error_type, route)
        if naming.current is not None:
            naming.current.finish(self._finished(elapsed))
        key = (self._method, self._scheme, status, error_type, route, self._version, self._websocket)
        received = None if self._websocket else self.received
        sent = None if self._websocket else 0 if self.bodiless() else self.sent
        instruments.record(key, elapsed / 1e9, received, sent, self.context, self.span, self._started_wall + elapsed)
        if self._server is not None and instruments.old is not None:
            found = {**instruments.attributes(key), **attributes.of_server(*self._server)}
            instruments.old.record(found, elapsed / 1e9, received, sent, self.context)

    def _describe(self, status: int | None, error_type: str | None, route: str | None) -> None:
        span: Any = self.span
        # A name that the application gave its span meanwhile is kept.
        if route is not None and not self._renamed and getattr(span, "name", self._name) == self._name:
            span.update_name(f"{self._name} {route}")
        describe = getattr(span, "describe", None) if self._lean else None
        if describe is not None and self.extra is None:
            describe(
                self._instruments.shared((status, error_type, route), attributes.of_end, status, error_type, route)
            )
        else:
            found = {**(self.extra or {}), **attributes.of_end(status, error_type, route)}
            if self.settings.old_names:
                found = oldnames.doubled(found)
            span.set_attributes(found)
        if self._failed is not None:
            span.set_status(Status(StatusCode.ERROR, self._failed))
        elif status is not None and status >= 500:
            span.set_status(Status(StatusCode.ERROR))

    def _finished(self, elapsed: int) -> naming.Finished:
        name, route, start = self._name, self.route, self._started_wall
        ours = not self._renamed and getattr(self.span, "name", name) in {name, f"{name} {route}"}
        return naming.Finished(
            self.span, self.context, self._method, text(self._path), route, self.status, elapsed / 1e9, start, start + elapsed,
            ours, self.settings,
        )  # fmt: skip

    def _find_out_route(self) -> None:
        if self.route is None:
            for carrier in reversed(self.carriers):
                route = self._find_route(carrier, self.status)
                if route is not None:
                    self.route = text(route)
                    return


def _qualified_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return text(str(error))
    except Exception:
        return ""
