"""Fields that were packed before: the bounded caches of the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from otelfork.encoding import wire

MOST = 512
"""Entries of each cache; a full one begins anew."""
LONGEST = 256
"""Longer strings are not kept."""


@final
class Values(dict[Any, bytes]):
    """The fields of one key's attributes by value, each packed when it is first asked for."""

    __slots__ = ("_key", "_room")

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = wire.key_start(key)
        # A field shorter than 128 bytes has lengths of one byte: two of the field, two of its string, and the key.
        self._room = 0x7F - 3 - len(self._key)

    def __missing__(self, value: Any) -> bytes:
        packed = wire.string_value(value) if type(value) is str else wire.any_value(value)
        length = len(packed)
        if length <= self._room:
            field = wire.short_field(self._key, packed)
        else:
            field = wire.message(wire.SPAN_ATTRIBUTES, self._key + wire.varint(length) + packed)
        if length <= LONGEST:
            if len(self) >= MOST:
                self.clear()
            self[value] = field
        return field


@final
class Heads(dict[int, bytes]):
    """What stands before the strings of one key's attributes, by their length in bytes, each packed when first asked for."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = wire.key_start(key)

    def __missing__(self, length: int) -> bytes:
        head = wire.string_head(self._key, length)
        keep(self, length, head)
        return head

    def field(self, value: str) -> bytes:
        """Return the field of an attribute."""
        packed = wire.text(value)
        return self[len(packed)] + packed


@final
class Made(dict[Any, bytes]):
    """Fields by what they are made of, each packed when it is first asked for.

    Args:
        make: returns the fields of one thing, which is a string, bytes or a tuple of them.
        longest: longer fields, and those made of longer things, are not kept.
    """

    __slots__ = ("_longest", "_make")

    def __init__(self, make: Callable[[Any], bytes], *, longest: int = LONGEST) -> None:
        super().__init__()
        self._make = make
        self._longest = longest

    def __missing__(self, given: str | bytes | tuple[str | bytes, ...]) -> bytes:
        fields = self._make(given)
        # Of much that was sent little may be left: what it was made of is held, too.
        length = sum(map(len, given)) if isinstance(given, tuple) else len(given)
        if length <= self._longest >= len(fields):
            keep(self, given, fields)
        return fields


@final
class Keys(dict[str, Values]):
    """`Values` by key, each made when it is first asked for. By key, so that one with many values begins anew alone."""

    __slots__ = ()

    def __missing__(self, key: str) -> Values:
        values = Values(key)
        keep(self, key, values)
        return values


def keep(cache: dict[Any, Any], key: object, value: object) -> None:
    """Keep an entry; a full cache begins anew."""
    if len(cache) >= MOST:
        cache.clear()
    cache[key] = value
