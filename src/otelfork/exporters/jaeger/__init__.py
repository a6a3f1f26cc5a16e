"""Jaeger: Thrift over HTTP to a collector, for those whose Jaeger does not take OTLP.

The released opentelemetry-exporter-jaeger-thrift does not import beside a current SDK; this exporter needs the `thrift` runtime
and `requests` only. It is safe to use from several threads and in forked children.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import requests
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otelfork.delivery.outcome import watched
from otelfork.exporters import Factory
from otelfork.exporters.jaeger import structs, translate
from otelfork.exporters.session import new_session
from otelfork.settings import Settings, SettingsError
from otelfork.settings.jaeger import JaegerSettings

_logger = logging.getLogger(__name__)
_TRANSIENT = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_SECONDS = 0.5
_kept: list[requests.Session] = []
"""Sessions of a parent, never freed: closing them in a child would speak on the parent's connections."""


def factory(signal: str, settings: Settings) -> Factory:  # noqa: ARG001 - every exporter module has this signature
    """Return the factory of the span exporter.

    Raises:
        SettingsError: Jaeger takes spans only, or an OTEL_EXPORTER_JAEGER_* variable cannot be used.
    """
    if signal != "traces":
        raise SettingsError(
            f"OTEL_{signal.upper()}_EXPORTER", "jaeger", "another exporter, for Jaeger takes traces only"
        )
    chosen = JaegerSettings.read()
    return lambda: JaegerExporter(chosen)


class JaegerExporter(SpanExporter):
    """Sends spans to a Jaeger collector; a response of 4xx or 5xx is a failure, and a passing one is tried again."""

    def __init__(self, settings: JaegerSettings) -> None:
        self._settings = settings
        self._auth = (settings.user, settings.password) if settings.user else None
        self._closed = threading.Event()
        self._session = self._new_session()
        self._pid = os.getpid()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans; SUCCESS if the collector took all of them.

        Tries again until the timeout, unless a stream watches that does (see `session`).

        Raises:
            Undelivered: a stream watches, and there was no answer.
        """
        deadline = time.monotonic() + self._settings.timeout
        made = translate.batches(spans)
        delivered = True
        for batch in made:
            taken, passing = self._send(structs.encode(batch), deadline)
            if passing:
                return SpanExportResult.FAILURE  # all of it is sent again; what follows would hide that
            delivered = delivered and taken
        return SpanExportResult.SUCCESS if delivered and self._whole(made, len(spans)) else SpanExportResult.FAILURE

    def _whole(self, made: Sequence[Any], spans: int) -> bool:
        """Tell whether all spans were sent; a stream that watches is told how many were not, and counts them alone."""
        missing = spans - sum(len(batch.spans) for batch in made)
        result = watched()
        if not missing or result is None:
            return not missing
        result.rejected, result.message = missing, "spans that cannot be said in Jaeger's words"
        return True

    def shutdown(self) -> None:
        """Stop: a retry that waits gives up."""
        self._closed.set()
        self._session.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return True

    def _send(self, body: bytes, deadline: float) -> tuple[bool, bool]:
        """Send until it is taken; return whether it was, and if not, whether that may pass."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._closed.is_set():
            retry_after, problem = self._post(body, max(0.001, deadline - time.monotonic()))
            if not problem:
                return True, False
            wait = max(retry_after, pause * random.uniform(0.8, 1.2))  # noqa: S311 - to spread retries
            if retry_after < 0 or time.monotonic() + wait >= deadline:
                _logger.error("%s does not take the spans: %s", self._settings.endpoint, problem)
                return False, retry_after >= 0
            self._closed.wait(wait)
            pause *= 2
        return False, True

    def _post(self, body: bytes, timeout: float) -> tuple[float, str]:
        """Send once; return the seconds to wait at least before the next try (negative: never), and what went wrong."""
        try:
            response = self._own_session().post(
                self._settings.endpoint,
                data=body,
                headers={"Content-Type": "application/vnd.apache.thrift.binary"},
                auth=self._auth,
                timeout=timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            passing = isinstance(error, requests.ConnectionError) and not isinstance(error, requests.Timeout)
            return 0.0 if passing else -1.0, f"{type(error).__name__}: {error}"
        if 200 <= response.status_code < 300:
            return 0.0, ""
        problem = f"HTTP {response.status_code} {response.reason}: {response.text[:200]}"
        if response.status_code not in _TRANSIENT:
            return -1.0, problem
        told = response.headers.get("Retry-After", "")
        return float(told) if told.isdigit() else 0.0, problem

    def _own_session(self) -> requests.Session:
        if self._pid != os.getpid():
            _kept.append(self._session)
            self._session, self._pid = self._new_session(), os.getpid()
        return self._session

    def _new_session(self) -> requests.Session:
        session = new_session()
        session.verify = self._settings.certificate or True
        return session
