"""What the command says where its libraries are not installed. It imports none of them."""

from __future__ import annotations

import sys
from typing import NoReturn

EXTRA_MISSING = 3
"""The exit status of the command when the extra `cli` is not installed."""

_EXTRA = frozenset({"click", "rich", "httpx", "grpc", "google", "opentelemetry.proto"})


def missing(error: ModuleNotFoundError) -> str | None:
    """Return which library of the extra is missing, or None: then the error is another one."""
    name = error.name or ""
    return name if any(name == each or name.startswith(f"{each}.") for each in _EXTRA) else None


def refuse(name: str) -> NoReturn:
    """Say which extra to install, and leave."""
    sys.stderr.write(
        f"otelfork: {name} is not installed; run: pip install 'otelfork[cli]' (for `otelfork run` alone: 'otelfork[run]')\n"
    )
    sys.exit(EXTRA_MISSING)
