"""Whether a provider has processors beside ours. Private names of the SDK: see `otelfork.lane`."""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from typing import Any, final


@final
class Sole:
    """Tells whether processors of ours are the only ones of a provider: then none has to be called.

    The SDK exchanges its tuple of processors when one is added, so that the tuple itself says whether it has changed.
    """

    __slots__ = ("_multi", "_ours", "seen")

    def __init__(self, multi: Any, processors: tuple[object, ...]) -> None:
        self._multi = multi
        self._ours = processors
        self.seen: object = None
        """The tuple that was found to be of ours alone."""

    def __call__(self) -> bool:
        processors = self._multi._span_processors
        if processors is self.seen:
            return True
        if processors != self._ours:
            return False
        self.seen = processors
        return True
