"""The life of a server's worker: its span, its gauges, and what is told of the server as a whole.

Whoever knows a server calls `begin` and `end` in its workers, and `supervise` and `departed` in its master. It knows no server
and no SDK.
"""

from __future__ import annotations

from otelfork.workers.life import begin, end, ready, resign
from otelfork.workers.masters import departed, supervise
from otelfork.workers.recruiting import check, everyone, prepare, volunteer

__all__ = ["begin", "check", "departed", "end", "everyone", "prepare", "ready", "resign", "supervise", "volunteer"]
