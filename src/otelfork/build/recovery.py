"""The workers that were killed, and the requests that they were busy with: found on the scoreboard by whoever lives, and sent as
spans with their own ids.

Sending is at least once: a row is cleared when its span was delivered, and a repeat carries the same trace and span id.
Two that find the same row, the leading process and the next owner of its slot, agree on who sends it (`Scoreboard.claim`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from otelfork import semconv
from otelfork.build import lost
from otelfork.run.boardfile import Orphan
from otelfork.run.ends import UNKNOWN

if TYPE_CHECKING:
    from otelfork.run.scoreboard import Scoreboard

_SWEEP_SECONDS = 1.0
_RETRY_SECONDS = 15.0
_logger = logging.getLogger("otelfork")
Deliver = Callable[[Sequence[ReadableSpan]], bool]


class Recovery:
    """Beats for this process, and looks after the dead ones. Runs on the exporter thread.

    Args:
        board: this process's scoreboard.
        resource: gives this process's resource; the dead worker's differs in its identity only.
        deliver: exports spans at once and tells whether they were handed over.
        meter: where the recovered requests are counted.
    """

    def __init__(
        self, board: Scoreboard, resource: Callable[[], Resource], deliver: Deliver, meter: metrics.Meter
    ) -> None:
        self._board = board
        self._resource = resource
        self._deliver = deliver
        self._due = 0.0
        self._looked_back = False
        self._counted: set[int] = set()
        """Span ids that were counted and could not be sent yet: a second try does not count them again."""
        self._counter = meter.create_counter(
            "otelfork.server.requests.recovered",
            unit="{request}",
            description="Requests whose worker was killed while it handled them, by how it ended.",
        )

    def tick(self, *, force: bool = False) -> bool:
        """Beat, and once a second send what dead workers left; tell whether nothing is left unsent."""
        now = time.monotonic()
        if now < self._due and not force:
            return True
        board = self._board
        self._due = now + _SWEEP_SECONDS
        board.beat()
        orphans = board.claim(board.orphans())
        if orphans:
            if not self._send(orphans):
                self._due = now + _RETRY_SECONDS
                return False
            board.settled(orphans)
        elif not self._looked_back and board.leads():
            self._looked_back = True
            # Not at the top: the room needs POSIX locks, and whoever has a board has it and them.
            from otelfork.run.deadruns import dead_runs

            dead_runs(board.directory, board.run, board.service, self._send)
        return True

    def _send(self, orphans: Sequence[Orphan]) -> bool:
        """Count the orphans, and send the sampled ones as spans; tell whether that succeeded."""
        requests = [orphan for orphan in orphans if not orphan.worker]
        for orphan in requests:
            if orphan.span_id not in self._counted:
                self._counted.add(orphan.span_id)
                self._counter.add(1, {semconv.ERROR_TYPE: orphan.ended or UNKNOWN})
        spans = [lost.span(orphan, self._resource()) for orphan in orphans if orphan.sampled]
        if spans and not self._deliver(spans):
            return False
        self._counted.clear()
        if requests:
            _logger.warning(
                "%d request(s) were running in workers that were killed: %s",
                len(requests),
                ", ".join(sorted({f"pid {each.pid}: {each.method} {each.path}" for each in requests})[:5]),
            )
        return True
