"""The words for how a process ended that more than one room uses."""

from __future__ import annotations

TIMEOUT = "timeout"
"""Its server killed it because it did not answer in time."""
UNKNOWN = "unknown"
"""Nobody could see it: only its parent is told, and no code of ours runs there."""
