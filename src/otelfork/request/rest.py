"""What few requests have: an exception, a cut, attributes of their own, a span that is not the lane's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from otelfork import exits
from otelfork.request.facts import text

_CAUSES = {exits.TIMEOUT: "the server ended the worker, which had not answered for too long"}


@final
class Rest:
    """What one request has that most have not. A request that has none of it is ended the short way.

    Attributes:
        error_type: the class of an exception, or why the response ended early.
        failed: what the span's status says of it.
        extra: attributes that are set at the end.
        renamed: whether the user has named the span.
        lean: whether the span is the lane's.
    """

    __slots__ = ("error_type", "extra", "failed", "lean", "renamed")

    def __init__(self) -> None:
        self.error_type: str | None = None
        self.failed: str | None = None
        self.extra: dict[str, Any] | None = None
        self.renamed = False
        self.lean = True

    def fail(self, error: BaseException) -> None:
        """Note an exception."""
        cause = exits.cause() if isinstance(error, SystemExit) else None
        self.error_type = cause or _qualified_name(type(error))
        self.failed = f"{self.error_type}: {_message(error)}" if cause is None else _CAUSES.get(cause, cause)

    def note(self, found: Mapping[str, Any]) -> None:
        """Keep attributes."""
        self.extra = {**self.extra, **found} if self.extra else dict(found)


def _qualified_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return text(str(error))
    except Exception:
        return ""
