"""Who asked whom, through the proxies that are trusted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelfork.request.addresses import Addresses, client_address, resolve, split_host
from otelfork.request.facts import Forwarding, Request
from otelfork.settings.http import HttpSettings

PLAIN: dict[str, Any] = {
    "method": "GET", "scheme": "http", "path": "/", "query": "", "version": "1.1", "host": "inner:8000", "user_agent": "",
    "peer": "10.0.0.2", "peer_port": 1, "server": "10.0.0.1", "server_port": 8000, "forwarding": None,
}  # fmt: skip


def seen(proxies: str, peer: str = "10.0.0.2", **forwarding: str) -> Addresses:
    request = Request(**{**PLAIN, "peer": peer, "forwarding": Forwarding(**forwarding)})
    return resolve(request, HttpSettings.load(trusted_proxies=proxies))


UNTRUSTED = Addresses("http", "inner", 8000, "10.0.0.2")


@pytest.mark.parametrize("proxies", ["none", "192.168.0.0/16", "unix", "10.0.0.3"])
def test_a_stranger_s_headers_are_not_believed(proxies: str) -> None:
    """With trust in none, or in others than the peer, only the socket and Host count."""
    assert seen(proxies, forwarded="for=1.2.3.4;proto=https;host=evil", for_="1.2.3.4") == UNTRUSTED


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({"for_": "6.6.6.6, 192.0.2.1, 10.1.1.1"}, "192.0.2.1"),
        ({"for_": "6.6.6.6, 192.0.2.1:1234, 10.1.1.1"}, "192.0.2.1"),
        ({"for_": "10.9.9.9, 10.1.1.1"}, "10.9.9.9"),
        ({"forwarded": "for=6.6.6.6, for=192.0.2.1;proto=https, for=10.1.1.1"}, "192.0.2.1"),
        ({"forwarded": 'for="[2001:db8::1]", for=10.1.1.1'}, "2001:db8::1"),
    ],
)
def test_given_proxies_are_skipped_from_the_right(headers: dict[str, str], client: str) -> None:
    """The client is the last address before the proxies that are trusted: what stands left of it anyone may have written."""
    assert client == seen("10.0.0.0/8", **headers).client


def test_a_unix_socket_can_be_trusted() -> None:
    """A proxy on a unix socket has no address, and is trusted by its own word."""
    clients = [seen(proxies, peer="", for_="192.0.2.1").client for proxies in ("unix", "all", "10.0.0.0/8", "none")]
    expected = ["192.0.2.1", "192.0.2.1", "", ""]
    assert expected == clients


def test_a_mapped_address_is_the_ipv4_address() -> None:
    """A dual-stack socket shows an IPv4 proxy as ::ffff:10.0.0.2."""
    expected = "192.0.2.1"
    assert expected == seen("10.0.0.0/8", peer="::ffff:10.0.0.2", for_="192.0.2.1").client


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=192.0.2.1", Addresses("http", "inner", 8000, "192.0.2.1")),
        ('For="192.0.2.1:99" ; Proto=HTTPS;Host="a.b:1"', Addresses("https", "a.b", 1, "192.0.2.1")),
        ("for=unknown", UNTRUSTED),
        ("for=_hidden", UNTRUSTED),
        ("for=unknown, for=192.0.2.7", Addresses("http", "inner", 8000, "192.0.2.7")),
        ('by=x;host="a\\"b"', UNTRUSTED),
        ('for="192.0.2.1', UNTRUSTED),
        (";;,,=", UNTRUSTED),
        ('for="a,b";proto=https, for=192.0.2.1', Addresses("https", "inner", 8000, "192.0.2.1")),
    ],
)
def test_forwarded(header: str, expected: Addresses) -> None:
    """RFC 7239 with its quotes, its case-insensitive names and its obfuscated nodes; what cannot be read is not there."""
    assert expected == seen("all", forwarded=header)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("192.0.2.1", "192.0.2.1"), ("192.0.2.1:80", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"), ("unknown", "10.0.0.2"), (" , 192.0.2.1", "192.0.2.1"), ("", "10.0.0.2"),
    ],
)  # fmt: skip
def test_x_forwarded_for(header: str, client: str) -> None:
    """The first entry that names somebody is the client, without its port."""
    assert client == seen("all", for_=header).client


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.b", ("a.b", None)), ("a.b:80", ("a.b", 80)), ("[::1]", ("::1", None)), ("[::1]:8", ("::1", 8)),
        ("a.b:", ("a.b", None)), ("a.b:99999", ("a.b", None)), ("a.b:0", ("a.b", None)), ("u:p@a.b:1", ("a.b", 1)),
        ("a b", ("", None)), ("a/b", ("", None)), ("", ("", None)), (":80", ("", None)), ("::1", ("", None)),
        ("x" * 400, ("", None)), ("b\xfcro.example", ("b\xfcro.example", None)),
    ],
)  # fmt: skip
def test_split_host(host: str, expected: tuple[str, int | None]) -> None:
    """A Host value gives name and port; what is none gives nothing."""
    assert expected == split_host(host)


@given(
    forwarding=st.builds(Forwarding, st.text(), st.text(), st.text(), st.text(), st.from_regex("[0-9]{0,6}")),
    host=st.text(),
    peer=st.sampled_from(["", "10.0.0.2", "::1", "nonsense"]),
    proxies=st.sampled_from(["all", "none", "10.0.0.0/8", "unix,::1"]),
)
def test_no_header_raises(forwarding: Forwarding, host: str, peer: str, proxies: str) -> None:
    """Whatever stands in the headers, scheme and ports are of their kind."""
    request = Request(**{**PLAIN, "peer": peer, "host": host, "forwarding": forwarding})
    found = resolve(request, HttpSettings.load(trusted_proxies=proxies))
    assert found.scheme in {"http", "https", "ws", "wss"}
    assert found.server_port is None or 0 < found.server_port < 65536


NODES = st.sampled_from(
    ["unknown", "_hidden", " 192.0.2.1 ", "192.0.2.2:80", '"[2001:db8::1]:5"', "::2", "", "10.0.0.9", "a b"]
)


@given(
    forwarding=st.builds(
        Forwarding,
        st.sampled_from(["", "for=192.0.2.60;host=a", "host=a, for=unknown", "junk"]) | st.text(max_size=3),
        st.lists(NODES, max_size=40).map(",".join) | st.text(max_size=3),
        st.sampled_from(["", "https"]),
    ),
    peer=st.sampled_from(["", "10.0.0.2", "::1", "nonsense"]),
    proxies=st.sampled_from(["all", "none", "10.0.0.0/8", "unix,::1"]),
)
def test_the_client_alone_is_the_one_of_all_ends(forwarding: Forwarding, peer: str, proxies: str) -> None:
    """Who asks for the client only is told what `resolve` tells."""
    settings = HttpSettings.load(trusted_proxies=proxies)
    expected = resolve(Request(**{**PLAIN, "peer": peer, "forwarding": forwarding}), settings).client
    assert expected == client_address(peer, forwarding.forwarded, forwarding.for_, settings)
