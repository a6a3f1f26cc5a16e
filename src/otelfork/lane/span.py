"""The request span: the SDK's span with fields that are made when they are asked for.

Private names of the SDK: see `otelfork.lane`.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from types import MappingProxyType
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import SpanContext, SpanKind

from otelfork.lane import packing
from otelfork.lane.inner import Inner
from otelfork.lane.kinds import Ending, Kind
from otelfork.lane.unsampled import context_of
from otelfork.seals import Seal
from otelfork.senders import remote, trace_of

_NO_STATUS = trace.Status()
MOST_OWN = 64
"""More attributes of our own than this are held as the SDK holds them, so that its limit counts."""
MOST_MARKS = 2
"""Where fewer events are allowed, the SDK's own span counts them."""
_SENT = (str, bytes)
_EMPTY = 700
"""Bytes of a span with its ids, times and what it keeps of its request."""
_Base: Any = sdk.Span  # its fields are plain attributes there, and properties here


class RequestSpan(_Base):  # type: ignore[misc]
    """One live SERVER span. A lane makes a subclass of its own, whose class attributes hold what all its spans share.

    Attributes:
        root_trace, id_bytes, flags: its ids, big-endian, and the trace's flags; where the trace is the sender's, None.
        sender: the parent (see `senders`), or None.
        seconds, received, sent, finished: the request's figures (see `lane.noting.Entry`), set when it has ended.
        _path, _query, _agent, _peer, _port, _forwarded_for, _headers: what the request alone was sent. Not in a tuple of their
            own: it would be one object more that the garbage collector has to look after.
    """

    __slots__ = (
        "_agent", "_end_time", "_ending", "_forwarded_for", "_headers", "_inner", "_path", "_peer", "_port", "_query",
        "_start_time", "_what", "finished", "flags", "id_bytes", "received", "root_trace", "seconds", "sender", "sent",
    )  # fmt: skip

    _kind = SpanKind.SERVER
    _trace_config = None
    _record_exception = True
    _set_status_on_exception = True
    _record_end_metrics = None
    _inner: Inner | None
    """What it needs from the moment on that somebody touches it; None before."""
    # Made by few: in the span's dictionary, which is not there before.
    _made_name: str | None = None
    _made_status: trace.Status | None = None
    _made_context: SpanContext | None = None
    _made_parent: SpanContext | None = None
    _put: Callable[[Any], None]
    _seal: Seal
    _alone: Any

    def __init__(  # noqa: PLR0917 - one call, on the request path: keywords cost
        self,
        what: Kind,
        sketch: Any,
        root_trace: bytes | None,
        span_id: bytes,
        sender: bytes | None,
        flags: int,
        start_time: int,
        parent: SpanContext | None = None,
    ) -> None:
        self._what = what
        self._path, self._query, self._agent, self._peer, self._port, self._forwarded_for, self._headers = sketch
        self.root_trace = root_trace
        self.id_bytes = span_id
        self.sender = sender
        self.flags = flags
        self._start_time = start_time
        self._end_time: int | None = None
        self._ending: Ending | None = None
        self._inner = None
        if parent is not None:
            self.__dict__["_made_parent"] = parent

    @property
    def trace_bytes(self) -> bytes:
        """The trace id, 16 bytes."""
        return trace_of(self.sender) if self.sender is not None else cast("bytes", self.root_trace)

    @property
    def sketch(self) -> Any:
        """What the request alone was sent, as it came."""
        return self._path, self._query, self._agent, self._peer, self._port, self._forwarded_for, self._headers

    @property
    def _name(self) -> str:
        made, ending = self._made_name, self._ending
        if made is not None:
            return made
        return self._what.name if ending is None else ending.name

    @_name.setter
    def _name(self, name: str) -> None:
        self.__dict__["_made_name"] = name

    @property
    def _status(self) -> trace.Status:
        made, ending = self._made_status, self._ending
        if made is None and ending is not None:
            made = ending.status
        return _NO_STATUS if made is None else made

    @_status.setter
    def _status(self, status: trace.Status) -> None:
        self.__dict__["_made_status"] = status

    @property
    def _context(self) -> SpanContext:
        made = self._made_context
        if made is None:
            parent = self._made_parent
            state = None if parent is None else parent.trace_state
            made = context_of(self.trace_bytes, self.id_bytes, self.flags, state)
            self.__dict__["_made_context"] = made
        return made

    @property
    def _parent(self) -> SpanContext | None:
        made = self._made_parent
        if made is None and self.sender is not None:
            made = self.__dict__["_made_parent"] = remote(self.sender)
        return made

    # Attributes, events and links are made by the SDK's methods, which hold the span's lock, or here under the same lock.

    def _touched(self) -> Inner:
        # Atomic: of two threads that touch the span first, one makes what both use.
        made: Inner = self.__dict__.setdefault("_made_inner", Inner())
        self._inner = made
        return made

    @property
    def _lock(self) -> Any:
        return (self._inner or self._touched()).lock

    @property
    def _attributes(self) -> BoundedAttributes:
        """The attributes as the SDK holds them, from the first time that somebody looks at them or adds one."""
        inner = self._inner or self._touched()
        made = inner.attributes
        if made is None:
            limits = self._limits
            made = BoundedAttributes(
                limits.max_span_attributes, immutable=False, max_value_len=limits.max_span_attribute_length
            )
            made._dict.update(self._what.attributes(self.sketch))
            if self._ending is not None:
                made._dict.update(self._ending.attributes)
            made._immutable = self._end_time is not None
            inner.attributes = made
        return made

    @property
    def _events(self) -> Any:
        inner = self._inner or self._touched()
        made = inner.events
        if made is None:
            made = inner.events = self._new_events()
            made.extend([sdk.Event(name, {}, when) for name, when in self._marks()])
        return made

    @property
    def _links(self) -> Any:
        inner = self._inner or self._touched()
        made = inner.links
        if made is None:
            made = inner.links = self._new_links(())
        return made

    @property
    def attributes(self) -> Any:
        """See `opentelemetry.sdk.trace.ReadableSpan.attributes`."""
        inner = self._inner or self._touched()
        if inner.attributes is None:
            with inner.lock:
                return MappingProxyType(self._attributes)
        return MappingProxyType(inner.attributes)

    @property
    def events(self) -> Any:
        """See `opentelemetry.sdk.trace.ReadableSpan.events`."""
        inner = self._inner
        if (inner is None or inner.events is None) and not self._marks():
            return ()
        return tuple(self._events)

    def _marks(self) -> list[tuple[str, int | None]]:
        """Return names and times of the events that came with the end."""
        marks = None if self._ending is None else self._ending.marks
        return [] if marks is None else [(marks[0], self._start_time), (marks[1], self._end_time)]

    @property
    def links(self) -> Any:
        """See `opentelemetry.sdk.trace.ReadableSpan.links`."""
        inner = self._inner
        return () if inner is None or inner.links is None else tuple(inner.links)

    @property
    def dropped_attributes(self) -> int:
        """See `opentelemetry.sdk.trace.ReadableSpan.dropped_attributes`."""
        inner = self._inner
        return 0 if inner is None or inner.attributes is None else inner.attributes.dropped

    @property
    def dropped_events(self) -> int:
        """See `opentelemetry.sdk.trace.ReadableSpan.dropped_events`."""
        inner = self._inner
        return 0 if inner is None or inner.events is None else inner.events.dropped

    @property
    def dropped_links(self) -> int:
        """See `opentelemetry.sdk.trace.ReadableSpan.dropped_links`."""
        inner = self._inner
        return 0 if inner is None or inner.links is None else inner.links.dropped

    def close(self, end_time: int, ending: Ending) -> None:
        """End the span, with what is known of its request by then (see `Lane.close`, which asks for it where it has to).

        A name that somebody gave the span meanwhile is kept.
        """
        if self._name == self._what.name != ending.name:
            self.update_name(ending.name)
        self.set_attributes(ending.attributes)
        if ending.marks is not None:
            self.add_event(ending.marks[0], timestamp=self._start_time)
            self.add_event(ending.marks[1], timestamp=end_time)
        if ending.status is not None and self._status.status_code is not trace.StatusCode.ERROR:
            self.set_status(ending.status)
        self.end(end_time)

    def end(self, end_time: int | None = None) -> None:
        """See `opentelemetry.sdk.trace.Span.end`."""
        inner = self._inner or self._touched()
        with inner.lock:
            ended = self._end_time is not None
            if not ended:
                self._end_time = time_ns() if end_time is None else end_time
                if inner.attributes is not None:
                    inner.attributes._immutable = True
        if ended:
            sdk.logger.warning("Calling end() on an ended span.")
        elif self._alone():
            if self._seal[0]:  # else it was begun before a fork, and is for the parent alone to end
                self._put(self)
        else:
            self._span_processor._on_ending(self)
            self._span_processor.on_end(self._readable_span())

    def weight(self) -> int:
        """Return about how many bytes it takes in memory; 0 where it has to be weighed like any span."""
        if self._inner is not None or self._headers:  # somebody has touched it, or headers were captured
            return 0
        return _EMPTY + sum([len(part) for part in self.sketch if type(part) in _SENT])

    otlp = staticmethod(packing.pack)
