"""From spans to the bytes of an OTLP `ExportTraceServiceRequest`, packed by hand.

The standard encoder builds a protobuf object for every attribute, 41 microseconds a span. Here attributes, names, scopes and
resources that were seen before are bytes already. It takes any `ReadableSpan` of the SDK, by its public names only, and
writes what the standard encoder writes. It knows no exporter.

One encoder belongs to one exporter, which is used by one thread at a time. Its caches are bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import groupby
from typing import Any, Protocol, TypeAlias, final

from opentelemetry.trace import SpanKind, StatusCode

from otelfork.encoding import wire
from otelfork.encoding.fields import LONGEST, MOST, Keys, keep
from otelfork.encoding.groups import Groups

_logger = logging.getLogger("otelfork")

_KINDS = {kind: wire.SPAN_KIND + wire.varint(kind.value + 1) for kind in SpanKind}
_UNSET = wire.message(wire.SPAN_STATUS, b"")


class Packed(Protocol):
    """A span whose class packs it: what the request lane hands over instead of a `ReadableSpan`.

    All of one class have one resource and one instrumentation scope.
    """

    resource: Any
    instrumentation_scope: Any

    @staticmethod
    def otlp(spans: Iterable[Any], encoder: Encoder, into: list[bytes]) -> None:
        """Add spans of the class to the pieces of a `ScopeSpans`, with tag and length; `Encoder.refuse` what cannot be encoded."""


Parts: TypeAlias = "tuple[Mapping[str, Any], int, Collection[Any], int, Collection[Any], int]"
"""Attributes, events and links of a span, each with the number of those that were dropped."""


def parts(span: Any) -> Parts:
    """Take a `ReadableSpan` apart by its public names."""
    attributes = span.attributes
    # The SDK's attributes lock and look up once for each key; its copy is a plain dictionary.
    copy = getattr(attributes, "copy", None)
    plain = attributes if copy is None else copy()
    return (
        plain or {},
        span.dropped_attributes,
        span.events or (),
        span.dropped_events,
        span.links or (),
        span.dropped_links,
    )


@final
class Encoder:
    """Encodes batches of spans.

    Args:
        read: takes a span apart; `parts` by default.

    Attributes:
        strings, integers: the fields of a span's attributes that were seen, by key and value. They are apart, and nothing
            else is kept: 1, 1.0 and True are one key of a dictionary.
        names: the fields of names that were seen.
        refused: spans left out so far because they could not be encoded.
        reason: why the last of them was left out.
    """

    __slots__ = ("_read", "_resources", "_said", "_scopes", "integers", "names", "reason", "refused", "strings")

    def __init__(self, read: Callable[[Any], Parts] | None = None) -> None:
        self._read = read or parts
        self.refused = 0
        self.reason = ""
        self._said: set[str] = set()
        self.strings = Keys()
        self.integers = Keys()
        self.names: dict[str, bytes] = {}
        # By identity, with the object itself so that its number is not used again.
        self._resources: dict[int, tuple[Any, bytes]] = {}
        self._scopes: dict[int, tuple[Any, bytes]] = {}

    def encode(self, spans: Iterable[Any]) -> bytes:
        """Return the request that carries these spans, grouped by resource and scope in the order they come.

        Args:
            spans: `ReadableSpan`s, or what is `Packed`. One that cannot be encoded is left out and counted in `refused`.
        """
        groups = Groups()
        for kind, run in groupby(spans, type):
            pack = getattr(kind, "otlp", None)
            if pack is None:
                self._add(run, groups)
                continue
            same = list(run)
            pack(same, self, groups.bodies(same[0].resource, same[0].instrumentation_scope))
        packed: list[bytes] = []
        for resource, scopes in groups.items():
            self._add_resource_spans(resource, scopes, packed)
        return b"".join(packed)

    def _add(self, spans: Iterable[Any], groups: Groups) -> None:
        resource = scope = bodies = None
        for span in spans:
            try:
                body = self.span(span)
                if bodies is None or span.resource is not resource or span.instrumentation_scope is not scope:
                    resource, scope = span.resource, span.instrumentation_scope
                    bodies = groups.bodies(resource, scope)
            except Exception as error:
                self.refuse(error)
                continue
            bodies += (wire.SCOPE_SPANS_SPANS, wire.varint(len(body)), body)

    def span(self, span: Any) -> bytes:
        """Return the body of an OTLP `Span`."""
        context = span.get_span_context()
        parent = span.parent
        name = span.name
        packed = [
            wire.SPAN_TRACE_ID,
            context.trace_id.to_bytes(16, "big"),
            wire.SPAN_SPAN_ID,
            context.span_id.to_bytes(8, "big"),
        ]
        if context.trace_state:
            packed.append(self.trace_state(context.trace_state))
        if parent:
            packed.append(wire.SPAN_PARENT_SPAN_ID + parent.span_id.to_bytes(8, "big"))
        packed += (
            self.names.get(name) or self.name(name),
            _KINDS[span.kind],
            wire.times(span.start_time, span.end_time),
        )
        attributes, lost_attributes, events, lost_events, links, lost_links = self._read(span)
        if attributes:
            self.attributes(attributes, packed.append)
        if lost_attributes:
            packed.append(wire.count(wire.SPAN_DROPPED_ATTRIBUTES, lost_attributes))
        if events or lost_events:
            packed += [wire.message(wire.SPAN_EVENTS, self._event(event)) for event in events]
            packed.append(wire.count(wire.SPAN_DROPPED_EVENTS, lost_events))
        if links or lost_links:
            packed += [wire.message(wire.SPAN_LINKS, self._link(link)) for link in links]
            packed.append(wire.count(wire.SPAN_DROPPED_LINKS, lost_links))
        status = span.status
        if status is not None:
            packed.append(self.status(status.status_code, status.description))
        packed.append(wire.SPAN_REMOTE if parent and parent.is_remote else wire.SPAN_LOCAL)
        return b"".join(packed)

    @staticmethod
    def trace_state(state: Mapping[str, str]) -> bytes:
        """Return the field of a span's trace state."""
        return wire.string(wire.SPAN_TRACE_STATE, ",".join([f"{key}={value}" for key, value in state.items()]))

    def name(self, name: str) -> bytes:
        """Return the field of a span's name."""
        field = wire.string(wire.SPAN_NAME, name)
        if len(name) <= LONGEST:
            keep(self.names, name, field)
        return field

    def attributes(self, attributes: Mapping[str, Any], add: Callable[[bytes], object]) -> None:
        """Add the fields of a span's attributes, one call of `add` for each."""
        strings, integers = self.strings, self.integers
        for key, value in attributes.items():
            kind = type(value)
            if kind is str:
                add(strings[key][value])
            elif kind is int:
                add(integers[key][value])
            else:
                add(self.attribute(key, value))

    def joined(self, attributes: Mapping[str, Any]) -> bytes:
        """Return the fields of a span's attributes."""
        packed: list[bytes] = []
        self.attributes(attributes, packed.append)
        return b"".join(packed)

    def attribute(self, key: str, value: Any) -> bytes:
        """Return the field of one attribute of a span."""
        return self._attribute(wire.SPAN_ATTRIBUTES, key, value)

    def _attribute(self, tag: bytes, key: str, value: Any) -> bytes:
        """Return the field of an attribute, or nothing where its value cannot be encoded; that is said once per key."""
        try:
            return wire.message(tag, wire.key_value(key, value))
        except Exception as error:
            if key not in self._said and len(self._said) < MOST:
                self._said.add(key)
                _logger.error("the attribute %s is not exported: %s", key, error)
            return b""

    @staticmethod
    def status(code: StatusCode, description: str | None) -> bytes:
        """Return the field of a span's status; it is there even if it says nothing, as the standard encoder has it."""
        if code is StatusCode.UNSET and not description:
            return _UNSET
        body = wire.string(wire.STATUS_MESSAGE, description) + wire.count(wire.STATUS_CODE, code.value)
        return wire.message(wire.SPAN_STATUS, body)

    def _event(self, event: Any) -> bytes:
        return b"".join([
            wire.time(wire.EVENT_TIME, event.timestamp),
            wire.string(wire.EVENT_NAME, event.name),
            self._pairs(wire.EVENT_ATTRIBUTES, event.attributes),
            wire.count(wire.EVENT_DROPPED_ATTRIBUTES, event.dropped_attributes),
        ])  # fmt: skip

    def _link(self, link: Any) -> bytes:
        context = link.context
        return b"".join([
            wire.LINK_TRACE_ID + context.trace_id.to_bytes(16, "big"),
            wire.LINK_SPAN_ID + context.span_id.to_bytes(8, "big"),
            self._pairs(wire.LINK_ATTRIBUTES, link.attributes),
            wire.count(wire.LINK_DROPPED_ATTRIBUTES, link.dropped_attributes),
            wire.LINK_FLAGS + (wire.REMOTE if context.is_remote else wire.LOCAL),
        ])  # fmt: skip

    def _pairs(self, tag: bytes, attributes: Mapping[str, Any] | None) -> bytes:
        if not attributes:
            return b""
        return b"".join([self._attribute(tag, key, value) for key, value in attributes.items()])

    def _add_resource_spans(self, resource: Any, scopes: Mapping[Any, list[bytes]], packed: list[bytes]) -> None:
        """Add the pieces of a `ResourceSpans`."""
        own = _known(self._resources, resource, self._resource)
        schema = wire.string(wire.RESOURCE_SPANS_SCHEMA_URL, resource.schema_url)
        length = len(own) + len(schema)
        inner = []
        for scope, bodies in scopes.items():
            head = _known(self._scopes, scope, self._scope)
            end = wire.string(wire.SCOPE_SPANS_SCHEMA_URL, scope.schema_url) if scope else b""
            within = len(head) + sum(map(len, bodies)) + len(end)
            start = wire.RESOURCE_SPANS_SCOPE_SPANS + wire.varint(within)
            length += len(start) + within
            inner.append((start + head, bodies, end))
        packed += (wire.RESOURCE_SPANS, wire.varint(length), own)
        for start, bodies, end in inner:
            packed.append(start)
            packed += bodies
            packed.append(end)
        packed.append(schema)

    def _resource(self, resource: Any) -> bytes:
        return wire.message(wire.RESOURCE_SPANS_RESOURCE, self._pairs(wire.RESOURCE_ATTRIBUTES, resource.attributes))

    def _scope(self, scope: Any) -> bytes:
        if scope is None:
            return wire.message(wire.SCOPE_SPANS_SCOPE, b"")
        body = wire.string(wire.SCOPE_NAME, scope.name) + wire.string(wire.SCOPE_VERSION, scope.version)
        return wire.message(wire.SCOPE_SPANS_SCOPE, body + self._pairs(wire.SCOPE_ATTRIBUTES, scope.attributes))

    def refuse(self, error: Exception) -> None:
        """Count a span that is left out."""
        self.refused += 1
        self.reason = f"{type(error).__name__}: {error}"


def _known(cache: dict[int, tuple[Any, bytes]], given: Any, pack: Callable[[Any], bytes]) -> bytes:
    """Return what was packed of this very object before."""
    found = cache.get(id(given))
    if found is None:
        found = (given, pack(given))
        keep(cache, id(given), found)
    return found[1]
