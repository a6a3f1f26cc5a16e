"""Laws of the bytes of what requests alone were sent: they are those of the attributes, and what is kept of them has a bound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelfork.encoding import fields
from otelfork.encoding.encoder import Encoder
from otelfork.lane import RequestSpan
from otelfork.request.facts import Forwarding, Request
from otelfork.request.instruments import Instruments
from otelfork.request.kinds import Plan
from otelfork.settings.http import HttpSettings

PLANS = {
    proxies: Plan(Instruments.create(), HttpSettings.load(trusted_proxies=proxies), lambda *_: None)
    for proxies in ("all", "none", "10.0.0.0/8")
}
"""Kept over all examples, so that a field comes from what was kept, too."""
TEXTS = st.one_of(
    st.sampled_from(["", "curl/8", "caf\xc3\xa9", "caf\xe9", "\ud800", "\u20ac", "x" * 90, "x" * 127, "x" * 300]),
    st.text(max_size=5),
    st.integers(80, 130).map(lambda length: "y" * length),
)
SKETCHES = st.tuples(
    TEXTS.map(lambda text: "/" + text),
    st.sampled_from(["", "page=2", "token=x&page=2", "\xff=1"]) | TEXTS,
    TEXTS,
    st.sampled_from(["", "10.0.0.1", "192.0.2.7", "::1"]),
    st.sampled_from([None, "", "1", "40000", 40001, 127, 128, 16383, 16384, 65535, 99999, -1, "many", "\u0663"]),
    st.sampled_from(["", "203.0.113.9", "unknown, 203.0.113.9:80, 10.0.0.7", ",", '"[::2]:5"', "_a"]),
    st.sampled_from([None, {}, {"x-a": ["1", "2"]}]),
)
FORWARDED = st.sampled_from(["", "for=192.0.2.60;proto=https;host=a.example", "host=b.example", "junk"])


def kind(plan: Plan, peer: str = "", forwarded: str = "") -> Any:
    """Return a kind of requests of this peer with this `Forwarded` header: where not all are trusted, kinds differ by them."""
    forwarding = Forwarding(forwarded) if forwarded else None
    return plan.kind("", Request("GET", "http", "/", "", "1.1", "shop.example", "", peer, None, "s", 8000, forwarding))


def kept(sketch: Any) -> RequestSpan:
    """Return a span of a request that was sent this."""
    what: Any = None
    return RequestSpan(what, sketch, b"", b"", None, 1, 1)


@pytest.mark.parametrize("proxies", PLANS)
@given(sketch=SKETCHES, forwarded=FORWARDED)
def test_the_bytes_are_those_of_the_attributes(proxies: str, sketch: Any, forwarded: str) -> None:
    """Whatever a request was sent: what is packed of it is what the encoder makes of its attributes, in their order."""
    made = kind(PLANS[proxies], sketch[3], forwarded)
    assert Encoder().joined(made.attributes(sketch)) == made.pack(kept(sketch), Encoder())


def test_no_cache_grows_with_what_clients_send() -> None:
    """Paths, queries, user agents, addresses and ports without number leave a bounded number of entries."""
    plan = Plan(Instruments.create(), HttpSettings(), lambda *_: None)
    made = kind(plan)
    for number in range(fields.MOST * 3):
        sent = f"q={number}", f"agent {number}", "10.0.0.1", number, f"192.0.2.{number}", None
        for path in ("/" + "x" * number, f"/\xe9{number}"):
            made.pack(kept((path, *sent)), Encoder())
    own = plan.packing
    sizes = [len(each) for each in (own.path_heads, own.paths, own.queries, own.clients, own.ports)]
    assert max(sizes) <= fields.MOST
