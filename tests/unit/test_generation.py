"""A generation: flushed and shut down as a whole, within one deadline, the user's parts with ours."""

from __future__ import annotations

import threading
import time
from unittest import mock

import pytest
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import NoOpTracerProvider
from tests.unit.exporting import soon

from otelfork.build.generation import Generation


class Guest:
    """Something of the user's that can be flushed and shut down; each call takes `seconds`."""

    def __init__(self, seconds=0.0, error=None):
        self.seconds = seconds
        self.error = error
        self.calls = []

    def force_flush(self, timeout_millis):
        self.calls.append("flush")
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return True

    def shutdown(self):
        self.calls.append("shutdown")


def generation(outbox="ours", **parts):
    """Return a generation; its outbox delivers everything unless the test gives another one."""
    if outbox == "ours":
        outbox = mock.Mock()
        outbox.flush.return_value = True
    return Generation(NoOpTracerProvider(), NoOpMeterProvider(), NoOpLoggerProvider(), outbox, **parts)


def test_a_flush_reaches_ours_and_everything_of_the_users():
    """Foreign providers, carried processors, and what factories made, all at the same time."""
    foreign, borrowed, guest = Guest(), Guest(), Guest()
    whole = generation(foreign=[foreign], borrowed=[borrowed], guests=[guest])
    assert (True, [["flush"]] * 3) == (whole.flush(soon()), [each.calls for each in (foreign, borrowed, guest)])


def test_a_shutdown_ends_what_belongs_to_the_generation_only():
    """A foreign provider and a carried processor live on."""
    foreign, borrowed, guest = Guest(), Guest(), Guest()
    generation(foreign=[foreign], borrowed=[borrowed], guests=[guest]).shutdown(soon())
    assert [["flush"], ["flush"], ["flush", "shutdown"]] == [each.calls for each in (foreign, borrowed, guest)]


def test_the_users_own_set_is_flushed_and_shut_down():
    """`providers=`: there is no outbox of ours, the three providers answer for themselves."""
    own = Guest()
    whole = Generation(own, NoOpMeterProvider(), NoOpLoggerProvider(), None)
    whole.shutdown(soon())
    assert ["flush", "shutdown"] == own.calls


def test_a_guest_that_does_not_keep_the_deadline_is_left_behind():
    """The caller is let go at the deadline, and told."""
    began = time.monotonic()
    delivered = generation(guests=[Guest(seconds=10)]).flush(soon(0.2))
    assert (False, True) == (delivered, time.monotonic() - began < 5)


def test_a_guest_that_raises_does_not_disturb():
    """Its failure is its own to log."""
    assert generation(guests=[Guest(error=RuntimeError("x"))]).flush(soon())


def test_where_no_thread_can_be_started_guests_are_flushed_on_the_callers(monkeypatch):
    """Python 3.12 starts no thread once the interpreter is on its way out."""

    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    guest = Guest()
    assert (True, ["flush"]) == (generation(guests=[guest]).flush(soon()), guest.calls)


@pytest.mark.parametrize(
    "passive", [SpanProcessor(), InMemoryMetricReader(), NoOpTracerProvider()], ids=lambda each: type(each).__name__
)
def test_what_keeps_nothing_back_costs_no_thread(monkeypatch, passive):
    """A processor without a flush of its own and a reader that is pulled are not asked."""
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))
    assert generation(guests=[passive]).flush(soon())


def test_forgetting_calls_nothing_and_keeps_connections_alive():
    """In a child: no flush, no shutdown, no finaliser of an exporter; only the providers are let go of."""
    outbox, guest = mock.Mock(), Guest()
    whole = generation(outbox, guests=[guest])
    whole.forget()
    assert ([], [], None) == (outbox.method_calls, guest.calls, whole.tracer_provider)
