"""The command `otelfork`. Its libraries are the extra `cli`; without it the command says so and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

EXTRA_MISSING = 3
"""The exit status of the command when the extra `cli` is not installed."""

_EXTRA = frozenset({"click", "rich", "httpx", "grpc", "google", "opentelemetry.proto"})

main: Callable[..., Any]
"""The click group `otelfork`; without the extra, a function that names it and exits with status 3."""

try:
    from otelfork.cli.commands import main
except ModuleNotFoundError as error:
    _missing = error.name or ""
    if not any(_missing == name or _missing.startswith(f"{name}.") for name in _EXTRA):
        raise

    def main(*_: object, **__: object) -> NoReturn:
        """Say which extra is missing."""
        sys.stderr.write(f"otelfork: {_missing} is not installed; run: pip install 'otelfork[cli]'\n")
        sys.exit(EXTRA_MISSING)


__all__ = ["EXTRA_MISSING", "main"]
