"""What is made of a process's generation stands until there is another one, or another process."""

from __future__ import annotations

import os

from tests.unit.recording import call_asgi, call_wsgi, plain, scope, sending_plain
from tests.unit.test_lane_wiring import exporting

from otelfork import OtelMiddleware, forks


def stands(standing: tuple[forks.Seal, int]) -> bool:
    """Tell what a request asks."""
    seal, turn = standing
    return seal[1] == turn


def test_a_change_ends_all_that_stood_for_good() -> None:
    """However many changes there are, what once stood does not stand again, and what is new does."""
    seen = [forks.standing()]
    for _ in range(600):
        assert stands(seen[-1])
        forks.change()
        assert [] == [each for each in seen if stands(each)]
        seen.append(forks.standing())
    assert stands(seen[-1])


def test_nothing_of_the_parent_stands_in_a_child() -> None:
    """A child finds its own, and changes nothing for its parent."""
    standing = forks.standing()
    pid = os.fork()
    if pid == 0:
        own = forks.standing()
        forks.change()
        os._exit(7 if not stands(standing) and own[0] is not standing[0] and not stands(own) else 1)
    _, status = os.waitpid(pid, 0)
    assert (True, 7) == (stands(standing), os.waitstatus_to_exitcode(status))


def test_one_middleware_follows_the_generations() -> None:
    """An application that is wrapped once is recorded by whatever telemetry is there when it is called, or by none."""
    wsgi, asgi = OtelMiddleware(plain), OtelMiddleware(sending_plain)
    found = []
    for _ in range(3):
        with exporting() as exporter:
            call_wsgi(wsgi)
            call_asgi(asgi, scope())
            forks.flush(5)
            found.append(len(exporter.get_finished_spans()))
        call_wsgi(wsgi)
    assert [2, 2, 2] == found
