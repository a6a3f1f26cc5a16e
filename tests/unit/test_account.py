"""How requests are matched with what was received: the arithmetic, without servers."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from otelfork.cli.account import DURATION, Account, Worker, histogram_counts, match
from otelfork.cli.load import Sent
from otelfork.receiver import ReceivedPoint, ReceivedSpan, Scope

SCOPE = Scope("scope", "", "", {})


def sent(number: int, *, error: str | None = None) -> Sent:
    return Sent(f"{number:032x}", f"{number:016x}", "http://server/", None if error else 200, error, 0.1)


def span(number: int, span_id: int = 1, *, parent: int | None = None, path: str = "/", **resource: Any) -> ReceivedSpan:
    """Return the server span of request `number`, or one below the span `parent` of its trace."""
    return ReceivedSpan(
        trace_id=f"{number:032x}",
        span_id=f"{span_id:016x}",
        parent_span_id=f"{number if parent is None else parent:016x}",
        name="GET /",
        kind="SERVER",
        start_time=100,
        end_time=200,
        attributes={"url.path": path},
        events=(),
        links=(),
        status="UNSET",
        status_message="",
        trace_state="",
        flags=1,
        dropped_attributes=0,
        dropped_events=0,
        dropped_links=0,
        resource=resource_of(**resource),
        scope=SCOPE,
        batch=1,
    )


def point(count: int, *, time: int = 200, start: int = 100, delta: bool = False, **resource: Any) -> ReceivedPoint:
    return ReceivedPoint(
        name=DURATION,
        unit="s",
        description="",
        type="histogram",
        temporality="DELTA" if delta else "CUMULATIVE",
        monotonic=False,
        start_time=start,
        time=time,
        attributes={"http.route": "/"},
        value=0,
        count=count,
        sum=0.0,
        minimum=None,
        maximum=None,
        bounds=(),
        bucket_counts=(),
        exemplars=(),
        resource=resource_of(**resource),
        scope=SCOPE,
        batch=1,
    )


def resource_of(pid: int = 1, instance: str = "a") -> MappingProxyType[str, object]:
    return MappingProxyType({"process.pid": pid, "service.instance.id": instance})


def account(*workers: Worker) -> Account:
    """Return an account in which nothing but the workers matters."""
    return Account(
        sent=1,
        answered=1,
        failed=(),
        received=1,
        lost=0,
        missing=(),
        duplicated=0,
        repeated_span_ids=(),
        other_server_spans=0,
        histogram_count=1,
        histogram_expected=1,
        workers=workers,
        stop_seconds=0.1,
        exit_status=0,
        died=False,
        killed=False,
        left_running=(),
        server_output="",
        quiet=True,
    )


def test_one_span_for_each_request_is_true() -> None:
    """One server span for each request: all received, nothing missing or doubled."""
    found = match([sent(1), sent(2)], [span(1), span(2, 2)], [point(2)])
    assert (found.received, found.missing, found.duplicated, found.histogram_count, found.histogram_expected) == (
        2,
        (),
        0,
        2,
        2,
    )


def test_a_span_with_another_parent_is_no_answer() -> None:
    """A server span of the right trace whose parent is not the one that was sent leaves its request missing."""
    one = sent(1)
    assert match([one], [span(1, parent=99)], []).missing == (one,)


def test_only_server_spans_count() -> None:
    """A client span with the right parent is no server span."""
    assert match([sent(1)], [replace(span(1), kind="CLIENT")], []).received == 0


def test_a_failed_request_may_have_a_span() -> None:
    """A failed request without a span is not missing; with one it is received and expected in the histogram."""
    found = match([sent(1, error="reset"), sent(2, error="reset")], [span(1)], [point(1)])
    assert (found.received, found.missing, found.histogram_expected) == (1, (), 1)


def test_a_repeated_span_id_is_named() -> None:
    """The same span delivered twice is one double, with its id."""
    found = match([sent(1)], [span(1, 7), span(1, 7)], [])
    assert (found.received, found.duplicated, found.repeated_span_ids) == (1, 1, (f"{7:016x}",))


def test_two_spans_of_one_request_are_a_double() -> None:
    """Two server spans of one request with ids of their own are one double and no repeat."""
    found = match([sent(1)], [span(1, 7), span(1, 8)], [])
    assert (found.received, found.duplicated, found.repeated_span_ids) == (1, 1, ())


def test_a_repeated_inner_span_is_a_double() -> None:
    """A repeat counts whatever its kind: an inner span delivered twice is one double."""
    inner = replace(span(1, 8, parent=7), kind="INTERNAL")
    assert match([sent(1)], [span(1, 7), inner, inner], []).duplicated == 1


def test_a_call_of_the_server_to_itself_is_expected() -> None:
    """A server span of another path below ours is a call of its own: no double, one more in the histogram."""
    found = match([sent(1)], [span(1, 7, path="/relay"), span(1, 8, parent=7, path="/item")], [point(2)])
    assert (found.duplicated, found.other_server_spans, found.histogram_count, found.histogram_expected) == (0, 1, 2, 2)


def test_the_last_cumulative_point_counts() -> None:
    """Of a cumulative stream the latest point counts, in whatever order they arrive."""
    assert histogram_counts([point(5, time=300), point(2, time=200)]) == {(1, "a"): 5}


def test_a_restarted_stream_is_added() -> None:
    """An instance id that comes back with a later start time is another stream: a successor's."""
    counts = histogram_counts([point(5), point(3, start=300, time=400, pid=2)])
    assert counts == {(1, "a"): 5, (2, "a"): 3}


def test_delta_points_are_added() -> None:
    """All points of a delta stream count."""
    assert histogram_counts([point(5, delta=True), point(2, delta=True, time=300)]) == {(1, "a"): 7}


def test_two_processes_with_one_identity_lose_counts() -> None:
    """Two living processes with one instance id and start time overwrite each other, as in a backend."""
    counts = histogram_counts([point(5, pid=1), point(5, pid=2, time=300)])
    assert sum(counts.values()) == 5


def test_attributes_and_scopes_make_streams() -> None:
    """Points that differ in attributes or scope are streams of their own."""
    other_route = replace(point(2), attributes={"http.route": "/x", "list": ["a"]})
    other_scope = replace(point(4), scope=Scope("other", "", "", {}))
    assert histogram_counts([point(1), other_route, other_scope]) == {(1, "a"): 7}


def test_workers_are_known_by_pid_and_instance_id() -> None:
    """Two pids under one instance id are two workers, and so is a worker whose metrics alone arrived."""
    found = match([sent(1), sent(2)], [span(1, 1), span(2, 2, pid=2)], [point(1), point(3, pid=3, start=50)])
    assert found.workers == (
        Worker(3, "a", 0, 3, 50, 200),
        Worker(1, "a", 1, 1, 100, 200),
        Worker(2, "a", 1, 0, 100, 200),
    )


def test_workers_without_identity_are_shown() -> None:
    """A resource without pid and instance id is a worker that says so."""
    anonymous = replace(span(1), resource={})
    assert [(worker.pid, worker.instance_id) for worker in match([sent(1)], [anonymous], []).workers] == [(None, "")]


def test_an_instance_id_of_two_at_once_is_shared() -> None:
    """One instance id of two processes that lived at one time is found."""
    one, other = Worker(1, "a", 1, 1, 100, 200), Worker(2, "a", 1, 1, 150, 300)
    assert account(one, other).shared_instance_ids == ("a",)


def test_a_successor_may_have_the_instance_id() -> None:
    """One instance id of two processes, one after the other, is a slot that was reused."""
    one, other = Worker(1, "a", 1, 1, 100, 200), Worker(2, "a", 1, 1, 200, 300)
    assert account(one, other).shared_instance_ids == ()


def test_nothing_answered_is_not_true() -> None:
    """An account without an answered request is not ok: nothing was verified."""
    assert replace(account(), answered=0, received=0, histogram_count=0, histogram_expected=0).ok is False
