"""What few requests have: an exception, a cut, attributes of their own, a span that is not the lane's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from opentelemetry.trace import Status, StatusCode

from otelfork import exits
from otelfork.request.facts import text

DISCONNECT = "client_disconnect"
"""`error.type` of a request whose client left before the response was complete."""
INCOMPLETE = "incomplete_response"
"""`error.type` of a request that the application ended without a complete response."""
_CAUSES = {exits.TIMEOUT: "the server ended the worker, which had not answered for too long"}


@final
class Rest:
    """What one request has that most have not. A request that has none of it is ended the short way.

    Attributes:
        error_type: the class of an exception, or why the response ended early.
        failed: what the span's status says of it.
        extra: attributes that are set at the end.
        renamed: whether the user has named the span.
    """

    __slots__ = ("error_type", "extra", "failed", "renamed")

    def __init__(self) -> None:
        self.error_type: str | None = None
        self.failed: str | None = None
        self.extra: dict[str, Any] | None = None
        self.renamed = False

    def fail(self, error: BaseException) -> None:
        """Note an exception."""
        cause = exits.cause() if isinstance(error, SystemExit) else None
        self.error_type = cause or _qualified_name(type(error))
        self.failed = f"{self.error_type}: {_message(error)}" if cause is None else _CAUSES.get(cause, cause)

    def status(self, span: Any, ending: Status | None) -> Status | None:
        """Return the status to set at the end, None for none: what the application itself said of a failure is kept."""
        if self.failed is not None:
            return Status(StatusCode.ERROR, self.failed)
        if ending is None:
            return None
        said = getattr(getattr(span, "status", None), "status_code", None)
        return None if said is StatusCode.ERROR else ending

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
