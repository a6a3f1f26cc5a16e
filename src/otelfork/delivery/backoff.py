"""When to try again: exponential back-off with jitter, unless the collector says when.

Waiting is a point in time that the exporter thread looks at, never a sleep: one signal's outage does not hold up the others.
"""

from __future__ import annotations

import random
import time
from typing import final

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 300.0
"""A `Retry-After` is kept up to here."""
JITTER = 0.2


@final
class Backoff:
    """The tries of one destination since its last success."""

    __slots__ = ("again", "tries")

    def __init__(self) -> None:
        self.tries = 0
        self.again = 0.0
        """Monotonic; before it nothing is sent. 0 after a success."""

    def failed(self, asked: float | None = None) -> None:
        """Note a failure that may pass; `asked` are the seconds that the collector asks to wait."""
        pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(self.tries, 16))
        pause *= random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - to spread the retries of many processes
        if asked is not None:
            # Not earlier than asked, and not all at that very moment.
            pause = min(asked, LONGEST_ASKED_SECONDS) * random.uniform(1.0, 1 + JITTER)  # noqa: S311
        self.tries += 1
        self.again = time.monotonic() + pause

    def interrupted(self) -> None:
        """Note a try that was ended from our side: the next one comes at once."""
        self.again = time.monotonic()

    def succeeded(self) -> None:
        """Note that the destination takes what it is sent."""
        self.tries = 0
        self.again = 0.0

    def waits(self, now: float) -> bool:
        """Tell whether it is too early for the next try."""
        return now < self.again
