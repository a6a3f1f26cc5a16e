"""Back-off: longer after each failure, up to a limit, never earlier than the collector asks, gone with a success."""

from __future__ import annotations

import time

import pytest

from otelfork.delivery.backoff import FIRST_SECONDS, JITTER, LONGEST_ASKED_SECONDS, LONGEST_SECONDS, Backoff


def pause(backoff: Backoff, *asked: float) -> float:
    """Return the seconds until the next try after one more failure."""
    backoff.failed(*asked)
    return backoff.again - time.monotonic()


def test_each_pause_is_twice_the_one_before_within_the_jitter():
    """Half a second at first, thirty at the most, each a fifth more or less."""
    backoff = Backoff()
    pauses = [pause(backoff) for _ in range(9)]
    planned = [min(LONGEST_SECONDS, FIRST_SECONDS * 2**number) for number in range(9)]
    within = [
        (1 - JITTER) * plan - 0.1 <= each <= (1 + JITTER) * plan for each, plan in zip(pauses, planned, strict=True)
    ]
    assert [True] * 9 == within


@pytest.mark.parametrize(("asked", "kept"), [(7.0, 7.0), (100_000.0, LONGEST_ASKED_SECONDS)])
def test_what_the_collector_asks_is_kept(asked, kept):
    """Not earlier than it says, whatever the own pause would be; five minutes at the most."""
    assert kept - 0.1 <= pause(Backoff(), asked) <= kept * (1 + JITTER)


def test_a_success_begins_anew():
    """The next failure is a first one."""
    backoff = Backoff()
    for _ in range(5):
        backoff.failed()
    backoff.succeeded()
    assert (False, True) == (backoff.waits(time.monotonic()), pause(backoff) <= FIRST_SECONDS * (1 + JITTER))
