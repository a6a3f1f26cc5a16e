"""A span processor of ours that goes along with local root spans, and costs a request span little.

A processor in general is called with the SDK's span, which is made for that. A companion tells the lane beforehand what it would
set, and the lane goes on alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from otelfork.encoding.encoder import Encoder
from otelfork.lane.kinds import Kind

MOST_ADDED = 16
"""The most attributes that all companions together may add to a span."""
_MOST_KINDS = 1000


class Companion(SpanProcessor):
    """Adds attributes to the local root spans of one process generation. For other spans it is a processor like any other.

    A subclass has `moment`, `accompany`, or both.
    """

    def start(self) -> None:
        """Begin to work: called once, when everybody already finds the generation. Threads are started here."""

    def moment(self) -> Shared | None:
        """Return the attributes of local root spans that begin now: the same object for many of them, None for nothing."""
        return None

    def accompany(self, name: str, trace_id: bytes, span_id: bytes) -> dict[str, Any]:
        """Go along with a local root span that begins on this thread; return attributes of its own.

        Args:
            name: its name.
            trace_id: 16 bytes, big-endian.
            span_id: 8 bytes.
        """
        return {}

    leave: Callable[[bytes], object] | None = None
    """Called with the id of a span of the lane's that ends, where there is anything to do then."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do the same for a span of the SDK's."""
        parent = span.parent
        if parent is None or parent.is_remote:
            context = span.get_span_context()
            ids = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
            shared = self.moment()
            span.set_attributes({**(shared.attributes if shared else {}), **self.accompany(span.name, *ids)})


@final
class Shared:
    """Attributes of our own making that many spans have in common, packed once, and the kinds of requests that have them."""

    __slots__ = ("_kinds", "attributes", "packed")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        self.packed: bytes | None = None
        self._kinds: dict[Kind, Kind] = {}

    def pack(self, encoder: Encoder) -> bytes:
        """Return the fields of the attributes."""
        packed = self.packed
        if packed is None:
            packed = self.packed = encoder.joined(self.attributes)
        return packed

    def of(self, kind: Kind) -> Kind:
        """Return a kind with these attributes in front of its own."""
        found = self._kinds.get(kind)
        if found is None:
            found = _Sharing(kind, self)
            # Kinds are bounded, and forgotten when there are too many of them: so are these.
            if len(self._kinds) < _MOST_KINDS:
                self._kinds[kind] = found
        return found


@final
class _Sharing:
    """A kind of requests with attributes of the moment."""

    __slots__ = ("_kind", "_shared", "name")

    def __init__(self, kind: Kind, shared: Shared) -> None:
        self._kind = kind
        self._shared = shared
        self.name = kind.name

    def attributes(self, sketch: Any) -> dict[str, Any]:
        """See `Kind.attributes`."""
        return {**self._shared.attributes, **self._kind.attributes(sketch)}

    def pack(self, span: Any, encoder: Encoder) -> bytes:
        """See `Kind.pack`."""
        return self._shared.pack(encoder) + self._kind.pack(span, encoder)


@final
class _Adding:
    """A kind of one request, with attributes that only this one has."""

    __slots__ = ("_added", "_kind", "name")

    def __init__(self, kind: Kind, added: dict[str, Any]) -> None:
        self._kind = kind
        self._added = added
        self.name = kind.name

    def attributes(self, sketch: Any) -> dict[str, Any]:
        """See `Kind.attributes`."""
        return {**self._kind.attributes(sketch), **self._added}

    def pack(self, span: Any, encoder: Encoder) -> bytes:
        """See `Kind.pack`."""
        return self._kind.pack(span, encoder) + encoder.joined(self._added)


def accompanying(companions: Sequence[Companion]) -> Callable[[Kind, bytes, bytes], Kind] | None:
    """Return what asks companions about a local root span (kind, trace id, span id) and returns its kind with what they add.

    None where nobody adds anything. What is asked of each is told by what its class has.
    """
    moments = [each.moment for each in companions if type(each).moment is not Companion.moment]
    others = [each.accompany for each in companions if type(each).accompany is not Companion.accompany]
    if not moments and not others:
        return None
    if len(moments) == 1 and not others:
        return _of_the_moment(moments[0])

    def ask(kind: Kind, trace_id: bytes, span_id: bytes) -> Kind:
        for moment in moments:
            shared = moment()
            if shared is not None:
                kind = shared.of(kind)
        for accompany in others:
            kind = _Adding(kind, accompany(kind.name, trace_id, span_id))
        return kind

    return ask


def _of_the_moment(moment: Callable[[], Shared | None]) -> Callable[[Kind, bytes, bytes], Kind]:
    def ask(kind: Kind, _trace_id: bytes, _span_id: bytes) -> Kind:
        shared = moment()
        return kind if shared is None else shared.of(kind)

    return ask


def parting(companions: Sequence[Companion], put: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return what takes an ended request span: `put`, after the companions that want to know."""
    leaving = [companion.leave for companion in companions if companion.leave is not None]
    if not leaving:
        return put

    def part(span: Any) -> None:
        for leave in leaving:
            leave(span.id_bytes)
        put(span)

    return part
