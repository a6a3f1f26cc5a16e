"""The telemetry of one request while it runs: one span, one duration, the same in the span and in the metrics.

The edges tell it what happens, in their own order; it begins once, ends once, and never raises into them. It knows neither
environ nor scope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter_ns, time_ns
from typing import Any, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode

from otelfork import exits, semconv
from otelfork.request.capturing import capture
from otelfork.request.facts import text
from otelfork.request.hooks import once
from otelfork.request.instruments import Lane
from otelfork.request.kinds import Ending, Kind, Plan, Sketch, bodiless, ids_of
from otelfork.request.origin import RECORDED, recorded, with_sender
from otelfork.request.propagation import SPAN_KEY
from otelfork.settings.http import HttpSettings

Carrier: TypeAlias = "Mapping[str, Any]"

MARK = "otelfork.exchange"
"""Key in environ or scope under which a middleware inside another one finds the exchange that already runs."""
DISCONNECT = "client_disconnect"
"""`error.type` of a request whose client left before the response was complete."""
INCOMPLETE = "incomplete_response"
"""`error.type` of a request that the application ended without a complete response."""
noticed: Callable[[Exchange], object] | None = None
"""Called with each exchange that begins, where somebody wants to know (see `logs.afterwards`)."""

MOST_CAPTURED = 16
"""With more captured headers a span is the SDK's own, which counts its attributes."""
_CAUSES = {exits.TIMEOUT: "the server ended the worker, which had not answered for too long"}


class Exchange:
    """One request under way. Count bytes in `received` and `sent`; call `end` when the last byte is out.

    Edges make subclasses, which are also what the server gets to hold: a request has an object less.

    Args:
        plan: what the middleware does for each request.
        kind: what the request has in common with others.
        sketch: what it alone was sent.
        carrier: the environ or scope.
        sender: the remote parent (see `propagation.sender`), or None.
        around: the context to start in, where there is more in it than the sender.
        details: a first name of the span, and further attributes.

    Attributes:
        context: what has to be current while the application runs.
        span: the SERVER span.
        received: bytes of the request's body that the application took.
        route: the template that the framework chose, None before it is known and where there is none.
        sent: bytes of the response's body that it gave.
        status: the response's status code, None before there is one.
        finished_at: reading of `perf_counter_ns` when the last byte went out, where `end` comes later.
        carriers: environs or scopes in which the route is looked for, the innermost last.
    """

    __slots__ = (
        "_error_type", "_failed", "_kind", "_lean", "_path", "_plan", "_renamed", "_row", "_started", "_started_wall", "carriers",
        "context", "ended", "extra", "finished_at", "received", "route", "sent", "span", "status",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - one call, on the request path: keywords cost
        self,
        plan: Plan,
        kind: Kind,
        sketch: Sketch,
        carrier: Carrier,
        sender: bytes | None = None,
        around: Context | None = None,
        details: tuple[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.ended = True  # until everything has begun
        self._plan = plan
        self._kind = kind
        self._error_type: str | None = None
        self._failed: str | None = None
        self._renamed: str | None = None
        self._row = 0
        self.carriers: list[Carrier] = [carrier]
        self._path = sketch[0]
        self.extra: dict[str, Any] | None = None
        self.received = 0
        self.route: str | None = None
        self.sent = 0
        self.status: int | None = None
        self.finished_at: int | None = None
        self._started_wall = wall = time_ns()
        self._started = perf_counter_ns()
        lane = plan.lane if details is None and (sketch[6] is None or len(sketch[6]) <= MOST_CAPTURED) else None
        span: Any = None
        if around is None and lane is not None:
            span = lane.begin(kind, sketch, sender, wall)
        if span is None:
            self._lean = False
            self._begin_generally(sketch, sender, around, details, lane)
        else:
            self._lean = True
            self.span: Any = span
            self.context: Context = Context({RECORDED: (kind.sent_method, sketch[0], self.carriers), SPAN_KEY: span})
            board = plan.board
            if board is not None:
                self._row = board.begin(
                    span.trace_bytes, span.id_bytes, sender[17:25] if sender else b"", span.flags, wall,
                    kind.row + sketch[0].encode("utf-8", "replace"),
                )  # fmt: skip
        begun = kind.begun
        if begun is None:
            plan.instruments.count(kind.running, 1, self.context)
        else:
            begun()
        self.ended = False
        if noticed is not None:
            noticed(self)

    def _begin_generally(
        self,
        sketch: Sketch,
        sender: bytes | None,
        around: Context | None,
        details: tuple[str, Mapping[str, Any]] | None,
        lane: Lane | None,
    ) -> None:
        plan, kind, wall = self._plan, self._kind, self._started_wall
        parent = with_sender(sender) if around is None else around
        seen = trace.get_current_span(parent).get_span_context()
        if lane is not None:
            self.span = lane.start(kind, sketch, parent, seen if seen.is_valid else None, wall)
            self._lean = hasattr(self.span, "trace_bytes")
        else:
            name, found = kind.name, kind.attributes(sketch)
            if details is not None:
                self._renamed = name = details[0]
                found.update(details[1])
            self.span = plan.instruments.tracer.start_span(
                name, context=parent, kind=SpanKind.SERVER, attributes=found, start_time=wall
            )
        self.context = recorded(kind.sent_method, sketch[0], self.carriers, self.span, parent)
        if plan.board is not None:
            text = kind.row + sketch[0].encode("utf-8", "replace")
            trace_id, span_id, flags = ids_of(self.span)
            parent_id = seen.span_id.to_bytes(8, "big")
            self._row = plan.board.begin(trace_id, span_id, parent_id, flags, wall, text)

    @property
    def settings(self) -> HttpSettings:
        """What the middleware was told to record, hide and add."""
        return self._plan.settings

    def respond(self, status: int | None, headers: Iterable[tuple[str, str]]) -> None:
        """Note the response's status and those of its headers that are wanted. The last call before the end counts."""
        self.status = status
        # Looked for now, because Flask takes its request out of the environ before the call returns.
        if self.route is None:
            self._find_out_route()
        wanted = self._plan.settings.response_headers
        if wanted is not None and self.span.is_recording():
            captured = capture(headers, wanted, self._plan.settings)
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
        return self._kind.bodiless or bodiless(self.status)

    def end(self) -> None:
        """End the span and record the metrics, the first time this is called."""
        if self.ended:
            return
        self.ended = True
        finished_at = self.finished_at
        elapsed = (perf_counter_ns() if finished_at is None else finished_at) - self._started
        ending = None
        try:
            ending = self._record(elapsed)
        except Exception:
            once("the end of a request could not be recorded", "end")
        self.carriers.clear()  # a cycle less, the environ is free, and whoever holds the context sees that it is over
        span = self.span
        try:
            if ending is not None and self._lean:
                span.close(self._started_wall + elapsed, ending)
            else:
                span.end(self._started_wall + elapsed)
        except Exception:
            once("a request's span could not be ended", "span.end")

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers to add to the response, by the settings."""
        settings = self._plan.settings
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

    def _record(self, elapsed: int) -> Ending | None:
        """Record the figures; return what the span is to be closed with, None where it was told all that is known."""
        plan, kind, span = self._plan, self._kind, self.span
        board = plan.board
        if board is not None:
            board.end(self._row)
        over = kind.ended
        if over is None:
            plan.instruments.count(kind.running, -1, self.context)
        else:
            over()
        if self.route is None:
            self._find_out_route()
        ending = kind.ending(self.status, self._error_type, self.route)
        simple = self._lean and self.extra is None and self._failed is None
        if not simple:
            self._describe(ending, elapsed)
        received: int | None = self.received
        sent: int | None = 0 if ending.bodiless else self.sent
        if kind.websocket:
            received = sent = None
        note = ending.note
        if note is None:
            plan.instruments.record(ending.key, elapsed / 1e9, received, sent, self.context)
        elif self._lean:
            note((
                elapsed / 1e9, received, sent, self._started_wall + elapsed, span.trace_bytes, span.id_bytes, span.flags,
            ))  # fmt: skip
        else:
            note((elapsed / 1e9, received, sent, self._started_wall + elapsed, *ids_of(span)))
        if ending.measure is not None:
            ids = (span.trace_bytes, span.id_bytes, span.flags) if self._lean else ids_of(span)
            figures = (elapsed / 1e9, None, None, self._started_wall + elapsed, *ids)
            ending.measure(text(self._path), figures, self.context)
        old = plan.instruments.old
        if old is not None:
            old.record(
                {**plan.instruments.attributes(ending.key), **kind.server()},
                elapsed / 1e9,
                received,
                sent,
                self.context,
            )
        return ending if simple else None

    def _describe(self, ending: Ending, elapsed: int) -> None:
        """Tell the span what is known at the end, by its own methods."""
        span, name = self.span, self._kind.name
        # A name that the application gave its span meanwhile is kept.
        ours = self._renamed is None and getattr(span, "name", name) == name
        if span.is_recording():
            if ours and ending.name != name:
                span.update_name(ending.name)
            found = ending.attributes
            if self.extra:
                found = self._plan.finished({**self.extra, **ending.plain})
            span.set_attributes(found)
            if ending.marks is not None:
                for mark, when in zip(ending.marks, (self._started_wall, self._started_wall + elapsed), strict=True):
                    span.add_event(mark, timestamp=when)
            if self._failed is not None:
                span.set_status(Status(StatusCode.ERROR, self._failed))
            elif ending.status is not None:
                span.set_status(ending.status)

    def _find_out_route(self) -> None:
        find = self._plan.find_route
        for carrier in reversed(self.carriers):
            route = find(carrier, self.status)
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
