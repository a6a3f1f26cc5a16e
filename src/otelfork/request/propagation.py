"""W3C Trace Context, levels 1 and 2, read to the letter; what the API's own propagator gets wrong is mended here.

Mended: several `traceparent` headers are invalid (the first was taken); keys of `tracestate` follow the level 2 grammar (a
digit first, `@` anywhere); a repeated key does not cost the whole list; flags that mean nothing yet are not handed on.
Source: W3C Trace Context level 2, sections 3.2, 3.3 and 4; RFC 9110, section 5.3. Sending is the API's.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import CarrierT, Getter, default_getter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelfork import senders
from otelfork.senders import FLAGS, SPAN
from otelfork.settings import Environment
from otelfork.settings.propagators import propagate

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}")
_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
# The API names this key nowhere, but shows it.
(SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
_OWS = " \t"
# What digits in lower case and dashes are to `bytes.translate`, and what nothing else is.
_SHAPES = bytes(ord("x") if chr(each) in "0123456789abcdef" else each if chr(each) == "-" else 0 for each in range(256))
_SHAPE = b"xx-" + b"x" * 32 + b"-" + b"x" * 16 + b"-xx"
# Of this version, and not without a trace.
_NO_TRACE_YET, _NEXT_VERSION = b"00-" + b"0" * 32 + b".", b"01"
_LENGTH, _NO_SPAN_DIGITS, _ZERO, _THREE = 55, b"0" * 16, ord("0"), ord("3")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_LONGEST_TRACEPARENT = 512
_LONGEST_TRACESTATE = 8192
"""In characters, all headers together. The specification asks for 512 at least; servers take about this much."""
MOST_MEMBERS = 32


class TraceState(trace.TraceState):
    """A `tracestate` with the keys that level 2 allows, in the order they were sent. It never changes."""

    def __init__(self, members: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._members: Mapping[str, str] = dict(members or {})

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __getitem__(self, key: str) -> str:
        return self._members[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"TraceState({self.to_header()!r})"

    def add(self, key: str, value: str) -> TraceState:
        """Return a state with a new member in front; this one where the member is invalid, there already, or too many."""
        return self if key in self._members else self.update(key, value)

    def update(self, key: str, value: str) -> TraceState:
        """Return a state with the member in front, as section 3.5 asks; this one where it is invalid or too many."""
        others = {name: old for name, old in self._members.items() if name != key}
        if not _is_member(key, value) or len(others) >= MOST_MEMBERS:
            return self
        return TraceState({key: value, **others})

    def delete(self, key: str) -> TraceState:
        """Return a state without the member."""
        return TraceState({name: value for name, value in self._members.items() if name != key})

    def to_header(self) -> str:
        """Return the header's value."""
        return ",".join(f"{key}={value}" for key, value in self._members.items())

    def keys(self) -> KeysView[str]:
        """Return the keys in order."""
        return self._members.keys()

    def items(self) -> ItemsView[str, str]:
        """Return the members in order."""
        return self._members.items()

    def values(self) -> ValuesView[str]:
        """Return the values in order."""
        return self._members.values()

    @classmethod
    def from_header(cls, header_list: list[str]) -> TraceState:
        """Return the members of one or several headers; none at all where one is malformed or they are too many."""
        if sum(map(len, header_list)) + len(header_list) > _LONGEST_TRACESTATE:
            return cls()
        members: dict[str, str] = {}
        for text in ",".join(header_list).split(","):
            member = text.strip(_OWS)
            if not member:
                continue
            key, _, value = member.partition("=")
            if not _is_member(key, value):
                return cls()
            # Of a repeated key the first counts: each system writes in front, so it is the newest.
            members.setdefault(key, value)
        return cls(members) if len(members) <= MOST_MEMBERS else cls()


class TraceContextPropagator(TraceContextTextMapPropagator):
    """Reads `traceparent` and `tracestate` to the letter of levels 1 and 2; writes them as the API does."""

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Return the context with the sender's span in it, or as it was where the headers name none."""
        if context is None:
            context = Context()
        lines = getter.get(carrier, "traceparent")
        if not lines or len(lines) != 1:
            return context
        parent = parse_traceparent(lines[0])
        if parent is None:
            return context
        trace_id, span_id, flags = parent
        states = getter.get(carrier, "tracestate")
        remote = trace.SpanContext(
            trace_id,
            span_id,
            is_remote=True,
            trace_flags=trace.TraceFlags(flags),
            trace_state=TraceState.from_header(states) if states else None,
        )
        return with_span(trace.NonRecordingSpan(remote), context)


def sender(header: str | bytes) -> bytes | None:
    """Return the sender of a `traceparent` (see `senders`); None where it is malformed."""
    sent: Any = header
    # The form that nearly all have, in a fraction of a regular expression's time; what else is valid is read with care.
    if len(sent) == _LENGTH:
        try:
            if type(sent) is not bytes:
                sent = sent.encode() if isinstance(sent, str) else bytes(sent)
            if (
                sent.translate(_SHAPES) == _SHAPE
                and _NO_TRACE_YET < sent < _NEXT_VERSION
                and sent[SPAN] != _NO_SPAN_DIGITS
                and sent[FLAGS - 1] == _ZERO
                and sent[FLAGS] <= _THREE
            ):
                return sent  # type: ignore[no-any-return]
        except UnicodeEncodeError:  # a careless server's surrogate
            pass
    parsed = parse_traceparent(header if isinstance(header, str) else header.decode("latin-1"))
    return None if parsed is None else senders.made(*parsed)


def received(carrier: CarrierT, context: Context, getter: Getter[CarrierT]) -> Context:
    """Return what `propagate.extract` does, sooner where ours is the global propagator and there is no baggage."""
    seated = propagate.get_global_textmap()
    if not reads_alike(seated):
        return seated.extract(carrier, context, getter)
    # By ours in either case: that of the API would take the first of several `traceparent`.
    return (DEFAULT if getter.get(carrier, "baggage") else _TRACE_CONTEXT).extract(carrier, context, getter)


def with_span(span: trace.Span, context: Context) -> Context:
    """Return what `trace.set_span_in_context` does, with one copy in place of two."""
    return Context({**context, SPAN_KEY: span})


def parse_traceparent(header: str) -> tuple[int, int, int] | None:
    """Return trace id, span id and flags of a `traceparent`; None where it is malformed and a new trace has to start."""
    if len(header) > _LONGEST_TRACEPARENT:
        return None
    match = _TRACEPARENT.fullmatch(header.strip(_OWS))
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN or (version == "00" and rest is not None):
        return None
    return int(trace_id, 16), int(span_id, 16), int(flags, 16) & senders.KNOWN_FLAGS


def _is_member(key: str, value: str) -> bool:
    return _KEY.fullmatch(key) is not None and _VALUE.fullmatch(value) is not None


_TRACE_CONTEXT = TraceContextPropagator()
DEFAULT = CompositePropagator([_TRACE_CONTEXT, W3CBaggagePropagator()])
"""What stands in the global seat after `install`."""
_alike: object = DEFAULT


def install(*, chosen: bool) -> bool:
    """Put our propagator into the API's global seat where the user chose none.

    Args:
        chosen: whether OTEL_PROPAGATORS is set.

    Returns:
        Whether ours is in the seat now. A propagator that was set by code stays where it is.
    """
    seated = propagate.get_global_textmap()
    if seated is DEFAULT:
        return True
    if chosen or not _is_default(seated):
        return False
    propagate.set_global_textmap(DEFAULT)
    return True


def reads_alike(seated: object) -> bool:
    """Tell whether ours may read in place of the propagator in the seat: it is ours, or the API's default that nobody chose.

    That stays in its seat where the providers are the user's own.
    """
    global _alike
    if seated is DEFAULT or seated is _alike:
        return True
    if not _is_default(seated) or Environment().is_set("OTEL_PROPAGATORS"):
        return False
    _alike = seated
    return True


def readable() -> object:
    """Return the propagator in the seat if ours may read in its place, else ours."""
    seated: object = propagate.get_global_textmap()
    return seated if reads_alike(seated) else DEFAULT


def _is_default(propagator: object) -> bool:
    """Tell whether a propagator is made of the API's two defaults, and nobody's subclass of them.

    The API keeps no public record of it, so the parts are recognised by their types, whatever the list is called.
    """
    if type(propagator) is not CompositePropagator:
        return False
    parts = [part for value in vars(propagator).values() if isinstance(value, list | tuple) for part in value]
    return [type(part) for part in parts] == [TraceContextTextMapPropagator, W3CBaggagePropagator]
