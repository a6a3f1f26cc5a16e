"""A batch on its way to bytes: in pieces that are joined once, for put together they are many pages of memory."""

from __future__ import annotations

from typing import Any, final


@final
class Groups(dict[Any, dict[Any, list[bytes]]]):
    """The pieces of each resource's scopes, in the order they come."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[int, int], tuple[list[bytes], Any, Any]] = {}

    def bodies(self, resource: Any, scope: Any) -> list[bytes]:
        """Return the pieces of a scope. By identity where it can be: looking a resource up by its value costs more than a span."""
        identity = id(resource), id(scope)
        found = self._known.get(identity)
        if found is None:
            bodies = self.setdefault(resource, {}).setdefault(scope or None, [])
            found = self._known[identity] = bodies, resource, scope
        return found[0]
