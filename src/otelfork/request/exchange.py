"""The telemetry of one request while it runs: one span, one duration, the same in the span and in the metrics.

The edges tell it what happens, in their own order; it begins once, ends once, never raises, and knows no environ or scope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter_ns, time_ns
from typing import Any, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from otelfork import semconv
from otelfork.lane.noting import OFTEN, Figures, apart
from otelfork.request.capturing import capture
from otelfork.request.facts import Request, Sent, Sketch, decoded, text, utf8
from otelfork.request.hooks import Hooks, once
from otelfork.request.kinds import Ending, Kind, Plan, bodiless, ids_of
from otelfork.request.origin import RECORDED, with_sender
from otelfork.request.propagation import SPAN_KEY
from otelfork.request.rest import Rest
from otelfork.settings.http import HttpSettings

Carrier: TypeAlias = "Mapping[str, Any]"
General: TypeAlias = "tuple[Context | None, tuple[str, Mapping[str, Any]] | None]"
_NOT_GENERAL: General = (None, None)
noticed: Callable[[Exchange], object] | None = None
"""Called with each exchange that begins, where somebody wants to know (see `logs.afterwards`)."""

_SAMPLED = 1
_set: Any = dict.setdefault  # the context's own refuses
MOST_CAPTURED = 16
"""With more captured headers a span is the SDK's own, which counts its attributes."""


class Exchange:
    """One request under way. Count bytes in `received` and `sent`; call `end` when the last byte is out.

    Edges make subclasses, which are also what the server gets to hold: a request has an object less.

    Args:
        plan: what the middleware does for each request.
        kind: what the request has in common with others.
        sketch: what it alone was sent.
        carrier: the environ or scope.
        sender: the remote parent (see `propagation.sender`), or None.
        general: the context to start in, where there is more in it than the sender, and a first name of the span with
            further attributes; None where there is none of it.

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
        "_kind", "_path", "_plan", "_rest", "_row", "_started", "_started_wall", "carriers", "context", "ended", "finished_at",
        "received", "route", "sent", "span", "status",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - one call, on the request path: keywords cost
        self,
        plan: Plan,
        kind: Kind,
        sketch: Sketch,
        carrier: Carrier,
        sender: bytes | None = None,
        general: General | None = None,
    ) -> None:
        self._plan = plan
        self._kind = kind
        path: Any = sketch[0]
        self._path: Sent = path
        self.carriers: list[Carrier] = [carrier]
        self.received = self.sent = self._row = 0
        self.route: str | None = None
        self.status: int | None = None
        self.finished_at: int | None = None
        self._rest: Rest | None = None
        self.ended = False
        self._started_wall = wall = time_ns()
        self._started = perf_counter_ns()
        span: Any = None
        if general is None and kind.simple and (sketch[6] is None or len(sketch[6]) <= MOST_CAPTURED):
            span = plan.lane.begin(kind, sketch, sender, wall)
        if span is None:
            self._begin_generally(sketch, sender, general or _NOT_GENERAL)
        else:
            self.span: Any = span
            # In place of a dictionary that would be copied; nobody has seen the context yet.
            self.context = context = Context()
            _set(context, RECORDED, self.carriers)
            _set(context, SPAN_KEY, span)
            board = plan.board
            if board is not None:
                origin = b"\0" + span.root_trace if sender is None else sender
                kept = type(path)  # what `utf8` does, without a call for what nearly all send
                line = path if kept is bytes else path.encode() if kept is str and path.isascii() else utf8(path)
                self._row = board.begin(origin, span.id_bytes, span.flags, wall, kind.row + line)
            next(kind.begun)
        if noticed is not None:
            noticed(self)

    def _begin_generally(self, sketch: Sketch, sender: bytes | None, general: General) -> None:
        around, details = general
        plan, kind, wall = self._plan, self._kind, self._started_wall
        rest = self._rest = Rest()
        parent = with_sender(sender) if around is None else around
        if plan.lane is None or details is not None or len(sketch[6] or ()) > MOST_CAPTURED:
            name, found = kind.name, kind.attributes(sketch)
            if details is not None:
                rest.renamed, name = True, details[0]
                found.update(details[1])
            self.span = plan.instruments.tracer.start_span(name, parent, SpanKind.SERVER, found, start_time=wall)
        else:
            seen = trace.get_current_span(parent).get_span_context()
            self.span = plan.lane.start(kind, sketch, parent, seen if seen.is_valid else None, wall)
        self.context = Context({**(around or {}), RECORDED: self.carriers, SPAN_KEY: self.span})
        if plan.board is not None:
            trace_id, span_id, flags = ids_of(self.span)
            parent_id = trace.get_current_span(parent).get_span_context().span_id.to_bytes(8, "big")
            line = kind.row + utf8(sketch[0])
            self._row = plan.board.begin(b"".join((b"\0", trace_id, parent_id)), span_id, flags, wall, line)
        if kind.begun is None:
            plan.instruments.count(kind.running, 1, self.context)
        else:
            next(kind.begun)

    @property
    def hooks(self) -> Hooks:
        """What the user of the middleware that began it wants to be called with."""
        return self._plan.hooks

    @property
    def settings(self) -> HttpSettings:
        """What the middleware was told to record, hide and add."""
        return self._plan.settings

    def is_of(self, request: Request) -> bool:
        """Tell whether this is of the same request, by method and path."""
        return (self._kind.sent_method, decoded(self._path)) == (request.method, request.path)

    def respond(self, status: int | None, headers: Iterable[tuple[str, str]]) -> None:
        """Note the response's status and those of its headers that are wanted. The last call before the end counts."""
        self.status = status
        # Looked for now, because Flask takes its request out of the environ before the call returns.
        if self.route is None and self.carriers:
            self.route = self._plan.find_route(self.carriers, status)
        wanted = self._plan.settings.response_headers
        if wanted is not None and self.span.is_recording():
            captured = capture(headers, wanted, self._plan.settings)
            self.note({semconv.RESPONSE_HEADER + name: tuple(values) for name, values in captured.items()})

    def note(self, found: Mapping[str, Any]) -> None:
        """Keep span attributes that are set, all at once, at the end."""
        if found:
            self._more().note(found)

    def fail(self, error: BaseException) -> None:
        """Record an exception that leaves the application. It is for the caller to let it go on."""
        if self.ended:
            return
        try:
            self._more().fail(error)
            self.span.record_exception(error)
        except Exception:
            once("an exception could not be recorded", "fail")

    def cut(self, reason: str) -> None:
        """Note that the response ended early for a reason that is no exception (`DISCONNECT`, `INCOMPLETE`)."""
        rest = self._more()
        if rest.error_type is None:
            rest.error_type = reason

    def _more(self) -> Rest:
        rest = self._rest
        if rest is None:
            rest = self._rest = Rest()
        return rest

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
        end = self._started_wall + elapsed
        try:
            if self._rest is not None:
                self._end_generally(elapsed, end)
            # The short way. In a child that was forked meanwhile the request is none of its own.
            elif self._plan.seal[0]:
                plan, kind, span, route, status = self._plan, self._kind, self.span, self.route, self.status
                if self._row:
                    plan.board.end(self._row)
                if not next(kind.ended) % OFTEN:
                    plan.hurry()
                if route is None:
                    route = plan.find_route(self.carriers, status)
                ending = kind.endings.get(status if route is None else (status, route)) or kind.ending(
                    status, None, route
                )
                span.seconds = elapsed / 1e9
                span.received = self.received
                span.sent = 0 if ending.bodiless else self.sent
                span.finished = end
                note = ending.note
                # What somebody has added to it may be much, and shall not wait with its figures.
                note(span if span._inner is None else apart(span))  # noqa: SLF001 - of the lane
                if ending.measure is not None:
                    self._measure(ending, elapsed, end)
                if span.flags & _SAMPLED:
                    plan.lane.close(span, end, ending)
        except Exception:
            once("the end of a request could not be recorded", "end")
        self.carriers.clear()  # a cycle less, the environ is free, and whoever holds the context sees that it is over

    def _measure(self, ending: Ending, elapsed: int, end: int) -> None:
        """Record the figures under the second set of names."""
        if ending.measure is not None:
            figures = Figures(elapsed / 1e9, None, None, end, *ids_of(self.span))
            ending.measure(text(decoded(self._path)), figures, self.context)

    def _end_generally(self, elapsed: int, end: int) -> None:
        rest, plan, kind = self._more(), self._plan, self._kind
        # In a child that was forked meanwhile: the parent records it, and instruments follow the fork.
        if not plan.seal[0]:
            return
        try:
            if plan.board is not None:
                plan.board.end(self._row)
            if kind.ended is None:
                plan.instruments.count(kind.running, -1, self.context)
            elif not next(kind.ended) % OFTEN:
                plan.hurry()
            if self.route is None:
                self.route = plan.find_route(self.carriers, self.status)
            ending = kind.ending(self.status, rest.error_type, self.route)
            self._describe(rest, ending, end)
            received, sent = (None, None) if kind.websocket else (self.received, 0 if ending.bodiless else self.sent)
            if ending.note is None:
                plan.instruments.record(ending.key, elapsed / 1e9, received, sent, self.context)
            else:
                ending.note(Figures(elapsed / 1e9, received, sent, end, *ids_of(self.span)))
            self._measure(ending, elapsed, end)
            if (old := plan.instruments.old) is not None:
                found = {**plan.instruments.attributes(ending.key), **kind.server()}
                old.record(found, elapsed / 1e9, received, sent, self.context)
        finally:
            self.span.end(end)

    def _describe(self, rest: Rest, ending: Ending, end: int) -> None:
        """Tell the span what is known at the end, by its own methods."""
        span, name = self.span, self._kind.name
        if not span.is_recording():
            return
        # A name that the application gave its span meanwhile is kept.
        if ending.name != name and not rest.renamed and getattr(span, "name", name) == name:
            span.update_name(ending.name)
        found = self._plan.finished({**rest.extra, **ending.plain}) if rest.extra else ending.attributes
        for key, value in found.items():  # nearly always one or two: quicker than all at once
            span.set_attribute(key, value)
        if ending.marks is not None:
            for mark, when in zip(ending.marks, (self._started_wall, end), strict=True):
                span.add_event(mark, timestamp=when)
        status = rest.status(span, ending.status)
        if status is not None:
            span.set_status(status)
