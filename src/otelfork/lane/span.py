"""The request span: the SDK's span with fields that are made when they are asked for.

Private names of the SDK: see `otelfork.lane`.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from time import time_ns
from types import MappingProxyType
from typing import Any, final

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from otelfork.encoding import wire
from otelfork.encoding.encoder import Encoder

_NO_STATE = trace.TraceState()
_NO_STATUS = trace.Status()
# Fields of every span, as names of this module: a name less to look up.
_TRACE_ID, _SPAN_ID, _PARENT = wire.SPAN_TRACE_ID, wire.SPAN_SPAN_ID, wire.SPAN_PARENT_SPAN_ID
_PLAIN_LOCAL = wire.message(wire.SPAN_STATUS, b"") + wire.SPAN_LOCAL
_PLAIN_REMOTE = wire.message(wire.SPAN_STATUS, b"") + wire.SPAN_REMOTE
MOST_OWN = 64
"""More attributes of our own than this are held as the SDK holds them, so that its limit counts."""
_SERVER = wire.SPAN_KIND + wire.varint(SpanKind.SERVER.value + 1)
_Base: Any = sdk.Span  # its fields are plain attributes there, and properties here


@final
class Shared:
    """Attributes of our own making that many spans have in common, packed once. Their number is for the caller to bound."""

    __slots__ = ("attributes", "packed")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        self.packed: bytes | None = None


NOTHING_SHARED = Shared({})


class RequestSpan(_Base):  # type: ignore[misc]
    """One live SERVER span. A lane makes a subclass of its own, whose class attributes hold what all its spans share."""

    __slots__ = (
        "_bounded", "_end_time", "_flags", "_late", "_lock", "_made_context", "_made_events", "_made_links", "_name", "_own",
        "_parent", "_shared", "_span_id", "_start_time", "_trace_id",
    )  # fmt: skip

    _kind = SpanKind.SERVER
    _status = _NO_STATUS
    _trace_config = None
    _record_exception = True
    _set_status_on_exception = True
    _record_end_metrics = None
    _put: Callable[[Any], None]
    _alone: Callable[[], bool]

    def __init__(  # noqa: PLR0917 - one call, on the request path: keywords cost
        self,
        name: str,
        trace_id: int,
        span_id: int,
        parent: SpanContext | None,
        flags: TraceFlags,
        own: dict[str, Any],
        start_time: int,
        shared: Shared = NOTHING_SHARED,
    ) -> None:
        self._name = name
        self._trace_id = trace_id
        self._span_id = span_id
        self._parent = parent
        self._flags = flags
        self._own = own
        self._shared = shared
        self._late = NOTHING_SHARED
        self._start_time = start_time
        self._end_time: int | None = None
        self._lock = Lock()
        self._bounded: BoundedAttributes | None = None
        self._made_context: SpanContext | None = None
        self._made_events: Any = None
        self._made_links: Any = None

    @property
    def _context(self) -> SpanContext:
        made = self._made_context
        if made is None:
            parent = self._parent
            state = _NO_STATE if parent is None else parent.trace_state
            made = SpanContext(
                self._trace_id, self._span_id, is_remote=False, trace_flags=self._flags, trace_state=state
            )
            self._made_context = made
        return made

    # Attributes, events and links are made by the SDK's methods, which hold the span's lock, or here under the same lock.

    @property
    def _attributes(self) -> BoundedAttributes:
        """The attributes as the SDK holds them, from the first time that somebody looks at them or adds one."""
        made = self._bounded
        if made is None:
            limits = self._limits
            made = BoundedAttributes(
                limits.max_span_attributes, immutable=False, max_value_len=limits.max_span_attribute_length
            )
            for held in (self._shared.attributes, self._own, self._late.attributes):
                made._dict.update(held)
            made._immutable = self._end_time is not None
            self._bounded = made
        return made

    @property
    def _events(self) -> Any:
        made = self._made_events
        if made is None:
            made = self._made_events = self._new_events()
        return made

    @property
    def _links(self) -> Any:
        made = self._made_links
        if made is None:
            made = self._made_links = self._new_links(())
        return made

    @property
    def attributes(self) -> Any:
        """See `opentelemetry.sdk.trace.ReadableSpan.attributes`."""
        if self._bounded is None:
            with self._lock:
                return MappingProxyType(self._attributes)
        return MappingProxyType(self._bounded)

    @property
    def events(self) -> Any:
        """See `opentelemetry.sdk.trace.ReadableSpan.events`."""
        return () if self._made_events is None else tuple(self._made_events)

    @property
    def links(self) -> Any:
        """See `opentelemetry.sdk.trace.ReadableSpan.links`."""
        return () if self._made_links is None else tuple(self._made_links)

    @property
    def dropped_attributes(self) -> int:
        """See `opentelemetry.sdk.trace.ReadableSpan.dropped_attributes`."""
        return 0 if self._bounded is None else self._bounded.dropped

    @property
    def dropped_events(self) -> int:
        """See `opentelemetry.sdk.trace.ReadableSpan.dropped_events`."""
        return 0 if self._made_events is None else self._made_events.dropped

    @property
    def dropped_links(self) -> int:
        """See `opentelemetry.sdk.trace.ReadableSpan.dropped_links`."""
        return 0 if self._made_links is None else self._made_links.dropped

    def describe(self, late: Shared) -> None:
        """Set attributes of our own making, whose values need no check. Once; a second time the SDK's way."""
        with self._lock:
            if self._end_time is not None:
                return
            found = late.attributes
            fresh = self._bounded is None and self._late is NOTHING_SHARED
            fresh = fresh and self._own.keys().isdisjoint(found) and self._shared.attributes.keys().isdisjoint(found)
            if fresh and len(self._own) + len(self._shared.attributes) + len(found) <= MOST_OWN:
                self._late = late
            else:
                self._attributes._set_items(found)

    def end(self, end_time: int | None = None) -> None:
        """See `opentelemetry.sdk.trace.Span.end`."""
        with self._lock:
            ended = self._end_time is not None
            if not ended:
                self._end_time = time_ns() if end_time is None else end_time
                if self._bounded is not None:
                    self._bounded._immutable = True
        if ended:
            sdk.logger.warning("Calling end() on an ended span.")
        elif self._alone():
            if self._flags & TraceFlags.SAMPLED:
                self._put(self)
        else:
            self._span_processor._on_ending(self)
            self._span_processor.on_end(self._readable_span())

    def otlp(self, encoder: Encoder) -> bytes:
        """Return the body of an OTLP `Span` (see `otelfork.encoding.encoder.Packed`)."""
        if self._made_events is not None or self._made_links is not None:
            return encoder.span(self)
        parent = self._parent
        name = self._name
        status = self._status
        remote = False
        packed = [_TRACE_ID, self._trace_id.to_bytes(16, "big"), _SPAN_ID, self._span_id.to_bytes(8, "big")]
        if parent is not None:
            remote = parent.is_remote
            state = parent.trace_state
            if state:
                packed.append(encoder.trace_state(state))
            packed += (_PARENT, parent.span_id.to_bytes(8, "big"))
        packed += (
            encoder.names.get(name) or encoder.name(name),
            _SERVER,
            wire.times(self._start_time, self._end_time),
        )
        bounded = self._bounded
        if bounded is None:
            packed.append(self._shared.packed or encoder.share(self._shared))
            encoder.attributes(self._own, packed.append)
            packed.append(self._late.packed or encoder.share(self._late))
        else:
            encoder.attributes(bounded._dict, packed.append)
            packed.append(wire.count(wire.SPAN_DROPPED_ATTRIBUTES, bounded.dropped))
        if status is _NO_STATUS:
            packed.append(_PLAIN_REMOTE if remote else _PLAIN_LOCAL)
        else:
            packed.append(encoder.status(status.status_code, status.description))
            packed.append(wire.SPAN_REMOTE if remote else wire.SPAN_LOCAL)
        return b"".join(packed)
