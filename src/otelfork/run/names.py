"""The names of what a run counts (see `tally`)."""

from __future__ import annotations

from bisect import bisect_left

STARTS = "starts"
"""Workers that began."""
EXITS = "exit:"
"""Prefix: workers that ended; what follows is how."""
BOOTS = "boot:"
"""Prefix: workers that became ready, by the place of the time it took among `BOUNDS`."""
BOOT_NANOSECONDS = "boots"
"""The sum of the times that it took."""
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""


def of_boot(seconds: float) -> dict[str, int]:
    """Return what is to be added for a boot that took so long."""
    return {f"{BOOTS}{bisect_left(BOUNDS, seconds)}": 1, BOOT_NANOSECONDS: round(seconds * 1e9)}
