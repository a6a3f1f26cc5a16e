"""How a worker gets the port: it tries once a second, lets the siblings of the one that had it go first, and says who has it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

from otelfork.prometheus.endpoint import Answer, Endpoint
from otelfork.prometheus.holders import Holder, Holders, stranger
from otelfork.settings.prometheus import PrometheusSettings

_PATIENCE = 2
"""Attempts that fail without a note of who has the port: the one that has just got it has not written it yet."""
_logger = logging.getLogger("otelfork")


class Contender:
    """One process that would serve the port.

    Args:
        settings: the address.
        holders: the notes of who has it; None where there is no directory for them.
        answer: makes the page.
        leads: tells whether this process speaks for its run.
    """

    def __init__(
        self, settings: PrometheusSettings, holders: Holders | None, answer: Answer, *, leads: Callable[[], bool]
    ) -> None:
        self._host, self._port = settings.host, settings.port
        self._holders = holders
        self._answer = answer
        self._leads = leads
        self._endpoint: Endpoint | None = None
        self._refused = 0
        self._said = False

    def contend(self) -> None:
        """Try to get the port. Called about once a second by the process's own thread; quick."""
        if self._endpoint is not None:
            return
        holder = None if self._holders is None else self._holders.find(self._port)
        if holder is not None and not holder.sibling and not holder.alive and holder.heirs:
            return
        try:
            endpoint = Endpoint(self._host, self._port, self._answer)
        except OSError as error:
            self._fail(error, holder)
            return
        self._endpoint = endpoint
        endpoint.start()
        if self._holders is not None:
            self._holders.note(self._host, self._port)
        if self._said:
            _logger.warning("metrics are served at http://%s:%d/metrics now", self._host, self._port)
        self._said, self._refused = False, 0

    def close(self) -> None:
        """Give the port up."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            if self._holders is not None:
                self._holders.forget()
            endpoint.close()

    def _fail(self, error: OSError, holder: Holder | None) -> None:
        self._refused += 1
        if self._holders is not None:
            self._holders.wait(holder)
        if self._said or (holder is not None and holder.alive and holder.sibling):
            return
        taken = error.errno == errno.EADDRINUSE
        if (taken and self._refused < _PATIENCE) or not self._leads():
            return
        self._said = True
        known = holder is not None and holder.alive
        reason = f"{holder if known else stranger(self._port)} has it" if taken else error.strerror or error
        _logger.error(
            "metrics cannot be served at http://%s:%d/metrics (%s); this server runs on without, and tries again each second. "
            "Set OTEL_EXPORTER_PROMETHEUS_PORT or OTEL_EXPORTER_PROMETHEUS_HOST",
            *(self._host, self._port, reason),
        )
