"""Laws of the attributes of a request that are told from what it was sent, and of what is kept of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from otelfork.encoding.fields import LONGEST, MOST
from otelfork.request import attributes
from otelfork.request.addresses import resolve
from otelfork.request.facts import Forwarding, Request
from otelfork.request.instruments import Instruments
from otelfork.request.kinds import Kind, Plan
from otelfork.request.telling import Telling
from otelfork.settings.http import HttpSettings

SETTINGS = [HttpSettings.load(), HttpSettings.load(trusted_proxies="10.0.0.0/8")]
NAMES = st.sampled_from(["", "10.0.0.1", "203.0.113.9", "203.0.113.9, 10.0.0.7", "unknown", "ä"])
REQUESTS = st.builds(
    Request, st.just("GET"), st.just("http"), st.sampled_from(["/", "/items", "/ä"]),
    st.sampled_from(["", "page=2", "token=1", "ä"]), st.just("1.1"), st.just("shop:8000"), st.sampled_from(["", "test"]),
    st.sampled_from(["", "10.0.0.1", "198.51.100.1"]), st.sampled_from([None, 80]), st.just("server"), st.just(8000),
    st.none() | st.builds(Forwarding, st.sampled_from(["", "for=192.0.2.1"]), NAMES, st.just("https")),
    st.just(False), st.none() | st.just({"x-one": ["1", "2"]}),
)  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=["all trusted", "some trusted"])
@given(requests=st.lists(REQUESTS, min_size=1, max_size=4))
def test_it_tells_what_the_facts_say(settings: HttpSettings, requests: list[Request]) -> None:
    """The attributes are those of the request's facts, in the same order, whatever was told before."""
    instruments = Instruments.create(NoOpTracerProvider(), NoOpMeterProvider())
    plan = Plan(instruments, settings, lambda *_: None)
    for request in requests:
        forwarded_for = "" if request.forwarding is None else request.forwarding.for_
        sketch: Any = (request.path, request.query, request.user_agent, request.peer, request.peer_port, forwarded_for,
                       request.headers)  # fmt: skip
        expected = attributes.of_request(request, resolve(request, settings), "GET", settings)
        assert list(expected.items()) == list(Kind(plan, request).attributes(sketch).items())


def test_what_is_kept_is_bounded() -> None:
    """Neither many nor long headers stay in memory."""
    telling = Telling(SETTINGS[0])
    for number in range(3 * MOST):
        telling.attributes({}, ("/", f"page={number}", f"agent {number}", "10.0.0.1", None, "", None), "")
    telling.attributes({}, ("/", "x" * (LONGEST + 1), "y" * (4 * LONGEST), "10.0.0.1", None, "", None), "")
    longest = max(len(str(key)) for kept in (telling._queries, telling._clients) for key in kept)
    assert (True, True) == (
        len(telling._queries) <= MOST and len(telling._clients) <= MOST, longest <= 4 * LONGEST,
    )  # fmt: skip
