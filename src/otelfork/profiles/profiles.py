"""Links local root spans to what was sampled while they ran: an attribute on the span, the same value on the samples.

The samples of a thread have the tags that the thread has at that moment. What was added is remembered, not made again from the
span: it may have another name when it ends. A tag can only be taken off by its own thread; of a span that ends elsewhere it is
taken off when that thread begins its next local root.
"""

from __future__ import annotations

import _thread
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import pyroscope  # type: ignore[import-untyped,unused-ignore]
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from otelfork.lane import Companion
from otelfork.profiles.agent import Agent
from otelfork.settings.profiles import ProfileSettings

ATTRIBUTE = "pyroscope.profile.id"
"""The attribute that Grafana looks for on a local root span; its value is the span's id, the tag `span_id` of the samples."""
SHUTDOWN_SECONDS = 10.0
"""What its shutdown may take. Whoever shuts a generation down has a deadline of its own, and does not wait longer."""
MOST_TAGGED = 10_000
"""Spans that may be under way with tags: what is begun and never ended may not grow without bound."""

_Tags: TypeAlias = "tuple[int, str, str, str]"
"""(thread, span id, trace id, name)"""


class Profiles(Companion):
    """Profiles the process, and links its local root spans. One per process generation.

    Args:
        settings: where the profiles go.
        resource: the process's.
    """

    def __init__(self, settings: ProfileSettings, resource: Resource) -> None:
        self._agent = Agent(settings, lambda: resource.attributes)
        self._pid = os.getpid()
        self._thread_id = _real_thread_id()
        self._tagged: dict[bytes, _Tags] = {}
        self._stale: dict[int, list[_Tags]] = {}

    def start(self) -> None:
        """Have the agent started."""
        self._agent.want()

    def accompany(self, name: str, trace_id: bytes, span_id: bytes) -> dict[str, Any]:
        """Return the span's attribute, and give the samples of this thread its tags."""
        profile_id = span_id.hex()
        if not self._agent.running:
            self._agent.want()
        elif len(self._tagged) < MOST_TAGGED:
            thread = self._thread_id()
            if thread in self._stale:
                self._clean(thread)
            tags = (thread, profile_id, trace_id.hex(), name)
            self._tagged[span_id] = tags
            pyroscope.add_thread_tag("span_id", profile_id)
            pyroscope.add_thread_tag("trace_id", tags[2])
            pyroscope.add_thread_tag("span_name", name)
        return {ATTRIBUTE: profile_id}

    def leave(self, span_id: bytes) -> None:
        """Take the tags of a span off. Those that another process or thread added are not this one's to take off now."""
        tags = self._tagged.pop(span_id, None)
        if tags is None or os.getpid() != self._pid:
            return
        if tags[0] == self._thread_id():
            _take_off(tags)
        else:
            self._stale.setdefault(tags[0], []).append(tags)

    def on_end(self, span: ReadableSpan) -> None:
        """See `leave`."""
        context = span.get_span_context()
        if context is not None:
            self.leave(context.span_id.to_bytes(8, "big"))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what was sampled. The agent has no other way for it than to end; the next local root has it started again."""
        return self._agent.end(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Send what was sampled, and stop for good."""
        self._agent.end(SHUTDOWN_SECONDS, for_good=True)

    def _clean(self, thread: int) -> None:
        for tags in self._stale.pop(thread, ()):
            _take_off(tags)


def _take_off(tags: _Tags) -> None:
    pyroscope.remove_thread_tag("span_id", tags[1])
    pyroscope.remove_thread_tag("trace_id", tags[2])
    pyroscope.remove_thread_tag("span_name", tags[3])


def _real_thread_id() -> Callable[[], int]:
    """Return what tells the thread, and not the greenlet: greenlets of one thread share its tags."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None:
        return _thread.get_ident
    real: Callable[[], int] = monkey.get_original("_thread", "get_ident")
    return real
