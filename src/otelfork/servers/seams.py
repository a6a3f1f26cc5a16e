"""Methods of a server's classes that are wrapped for a time, and put back as they were.

It knows no server. A wrapper that another tool has wrapped in turn cannot be taken out without taking that tool out too: it
stays, and does nothing any more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

Around: TypeAlias = "Callable[..., Any]"
"""Called with the original method and the call's arguments, in place of the original."""

_ABSENT = object()


class Seams:
    """The wrapped methods of one server."""

    def __init__(self) -> None:
        self._made: list[tuple[type, str, Any, Any]] = []
        self._on = False

    def __bool__(self) -> bool:
        """Tell whether anything is wrapped."""
        return self._on

    def wrap(self, owner: type, name: str, around: Around) -> None:
        """Have `around(original, self, ...)` called in place of a method.

        Args:
            owner: the class.
            name: of a plain method of it.
            around: calls the original, which is a plain function, or does not.
        """
        held = vars(owner).get(name, _ABSENT)
        if any(made[0] is owner and made[3] is held for made in self._made):
            return
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            if not self._on:
                return original(*arguments, **keywords)
            return around(original, *arguments, **keywords)

        setattr(owner, name, wrapper)
        self._made.append((owner, name, held, wrapper))
        self._on = True

    def restore(self) -> None:
        """Put every method back, the last one first."""
        self._on = False
        while self._made:
            owner, name, held, wrapper = self._made.pop()
            if vars(owner).get(name) is not wrapper:
                continue  # somebody has wrapped ours: theirs stays, and ours passes on
            if held is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, held)
