"""The command `otelfork`. Its libraries are the extra `cli`, for `run` alone the extra `run`; without them it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otelfork.cli import extra
from otelfork.cli.extra import EXTRA_MISSING

main: Callable[..., Any]
"""The click group `otelfork`; without the extra, a function that names it and exits with status 3."""

try:
    from otelfork.cli.commands import main
except ModuleNotFoundError as error:
    _missing = extra.missing(error)
    if _missing is None:
        raise

    def main(*_: object, **__: object) -> None:
        """Say which extra is missing."""
        extra.refuse(str(_missing))


__all__ = ["EXTRA_MISSING", "main"]
