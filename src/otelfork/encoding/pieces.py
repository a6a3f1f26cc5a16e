"""A batch on its way to bytes: pieces that are joined once, for put together they are many pages of memory."""

from __future__ import annotations

from typing import Any, final

from otelfork.encoding import wire


@final
class Bodies(list[bytes]):
    """The spans of a `ScopeSpans` in pieces.

    Attributes:
        length: of all of them together; who adds pieces by other means than `add` counts them.
    """

    __slots__ = ("length",)

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def add(self, body: bytes) -> None:
        """Add the body of an OTLP `Span`."""
        start = wire.SCOPE_SPANS_SPANS + wire.varint(len(body))
        self += (start, body)
        self.length += len(start) + len(body)


@final
class Groups(dict[Any, dict[Any, Bodies]]):
    """The pieces of each resource's scopes, in the order they come."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[int, int], tuple[Bodies, Any, Any]] = {}

    def bodies(self, resource: Any, scope: Any) -> Bodies:
        """Return the pieces of a scope. By identity where it can be: looking a resource up by its value costs more than a span."""
        identity = id(resource), id(scope)
        found = self._known.get(identity)
        if found is None:
            bodies = self.setdefault(resource, {}).setdefault(scope or None, Bodies())
            found = self._known[identity] = bodies, resource, scope
        return found[0]
