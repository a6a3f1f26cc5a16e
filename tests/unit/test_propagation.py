"""W3C Trace Context as data: the cases of the working group's own suite (levels 1 and 2), on both edges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.baggage import get_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.unit.recording import Recording, call_asgi, call_wsgi, environ, plain, scope, sending_plain

from otelfork.request import propagation
from otelfork.request.propagation import TraceState, parse_traceparent, sender
from otelfork.senders import remote, sender_of, trace_of

T, P = "12345678901234567890123456789012", "1234567890123456"
GOOD = f"00-{T}-{P}-01"
KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]

NEW = None
# What is sent in `traceparent` (one item a header line), and the trace that has to go on; None starts a new one.
TRACEPARENTS: dict[str, tuple[list[str], str | None]] = {
    "missing": ([], NEW),
    "good": ([GOOD], T),
    "duplicated": ([GOOD, f"00-{T[:-1]}1-{P}-01"], NEW),
    "duplicated-same": ([GOOD, GOOD], NEW),
    "trailing-dot": ([GOOD + "."], NEW),
    "trailing-fields": ([GOOD + "-what-the-future-will-be-like"], NEW),
    "future": ([f"cc-{T}-{P}-01"], T),
    "future-fields": ([f"cc-{T}-{P}-01-what-the-future-will-be-like"], T),
    "future-dot": ([f"cc-{T}-{P}-01.what-the-future-will-be-like"], NEW),
    "version-ff": ([f"ff-{T}-{P}-01"], NEW),
    "version-illegal-first": ([f".0-{T}-{P}-01"], NEW),
    "version-illegal-second": ([f"0.-{T}-{P}-01"], NEW),
    "version-long": ([f"000-{T}-{P}-01"], NEW),
    "version-longer": ([f"0000-{T}-{P}-01"], NEW),
    "version-short": ([f"0-{T}-{P}-01"], NEW),
    "trace-id-zero": ([f"00-{'0' * 32}-{P}-01"], NEW),
    "trace-id-illegal-first": ([f"00-.{T[1:]}-{P}-01"], NEW),
    "trace-id-illegal-last": ([f"00-{T[:-1]}.-{P}-01"], NEW),
    "trace-id-upper-case": ([f"00-{'A' * 32}-{P}-01"], NEW),
    "trace-id-long": ([f"00-{T}3-{P}-01"], NEW),
    "trace-id-short": ([f"00-{T[:-1]}-{P}-01"], NEW),
    "parent-id-zero": ([f"00-{T}-{'0' * 16}-01"], NEW),
    "parent-id-illegal-first": ([f"00-{T}-.{P[1:]}-01"], NEW),
    "parent-id-illegal-last": ([f"00-{T}-{P[:-1]}.-01"], NEW),
    "parent-id-long": ([f"00-{T}-{P}7-01"], NEW),
    "parent-id-short": ([f"00-{T}-{P[:-1]}-01"], NEW),
    "flags-illegal-first": ([f"00-{T}-{P}-.0"], NEW),
    "flags-illegal-last": ([f"00-{T}-{P}-0."], NEW),
    "flags-long": ([f"00-{T}-{P}-001"], NEW),
    "flags-short": ([f"00-{T}-{P}-1"], NEW),
    "ows-space-before": ([" " + GOOD], T),
    "ows-tab-before": (["\t" + GOOD], T),
    "ows-space-after": ([GOOD + " "], T),
    "ows-tab-after": ([GOOD + "\t"], T),
    "ows-around": (["\t " + GOOD + " \t"], T),
    "empty": ([""], NEW),
    "newline": ([GOOD + "\n"], NEW),
    "overlong": ([f"cc-{T}-{P}-01-" + "x" * 9000], NEW),
}
# What is sent in `tracestate` (one item a header line), and the members that have to be handed on, in order.
TRACESTATES: dict[str, tuple[list[str], list[str]]] = {
    "missing": ([], []),
    "one": (["foo=1"], ["foo=1"]),
    "two": (["foo=1,bar=2"], ["foo=1", "bar=2"]),
    "empty": ([""], []),
    "then-empty": (["foo=1", ""], ["foo=1"]),
    "empty-then": (["", "foo=1"], ["foo=1"]),
    "several": (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], ["foo=1", "bar=2", "rojo=1", "congo=2", "baz=3"]),
    "repeated-same": (["foo=1,foo=1"], ["foo=1"]),
    "repeated-other": (["foo=1,foo=2"], ["foo=1"]),
    "repeated-lines": (["foo=1", "foo=2,bar=3"], ["foo=1", "bar=3"]),
    "all-characters": ([f"{KEY}={VALUE}"], [f"{KEY}={VALUE}"]),
    "all-characters-vendor": ([f"{KEY}@a-z0-9_-*/={VALUE}"], [f"{KEY}@a-z0-9_-*/={VALUE}"]),
    "ows-mixed": (["foo=1 \t , \t bar=2, \t baz=3"], ["foo=1", "bar=2", "baz=3"]),
    "ows-tabs": (["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], ["foo=1", "bar=2", "baz=3"]),
    "ows-around": (["\t foo=1 \t"], ["foo=1"]),
    "key-space": (["foo =1"], []),
    "key-upper-case": (["FOO=1"], []),
    "key-dot": (["foo.bar=1"], []),
    "key-at-end": (["foo@=1,bar=2"], ["foo@=1", "bar=2"]),
    "key-at-first": (["@foo=1,bar=2"], []),
    "key-two-ats": (["foo@@bar=1,bar=2"], ["foo@@bar=1", "bar=2"]),
    "key-three-parts": (["foo@bar@baz=1,bar=2"], ["foo@bar@baz=1", "bar=2"]),
    "key-digit-first": (["1a=1"], ["1a=1"]),
    "members-32": ([",".join(MEMBERS[:20]), ",".join(MEMBERS[20:32])], MEMBERS[:32]),
    "members-33": ([",".join(MEMBERS)], []),
    "key-256": (["foo=1", "z" * 256 + "=1"], ["foo=1", "z" * 256 + "=1"]),
    "key-257": (["foo=1", "z" * 257 + "=1"], []),
    "key-tenant-242": (["foo=1", "t" * 242 + "@v=1"], ["foo=1", "t" * 242 + "@v=1"]),
    "key-vendor-15": (["foo=1", "t@" + "v" * 15 + "=1"], ["foo=1", "t@" + "v" * 15 + "=1"]),
    "value-256": (["foo=" + "v" * 256], ["foo=" + "v" * 256]),
    "value-257": (["foo=" + "v" * 257], []),
    "value-equals": (["foo=bar=baz"], []),
    "value-empty": (["foo=,bar=3"], []),
    "value-leading-space": (["foo= 1"], ["foo= 1"]),
    "512-characters": (["a=" + "x" * 250 + ",b=" + "y" * 250], ["a=" + "x" * 250, "b=" + "y" * 250]),
}


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", propagation.DEFAULT)


def serve(interface: str, headers: list[tuple[str, str]]) -> Recording:
    """Serve a request with these header lines; a WSGI server joins the lines of one header with commas."""
    recording = Recording()
    if interface == "asgi":
        lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        call_asgi(recording.asgi(sending_plain), scope(headers=lines))
        return recording
    joined: dict[str, str] = {}
    for name, value in headers:
        key = "HTTP_" + name.upper()
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    call_wsgi(recording.wsgi(plain), environ(**joined))
    return recording


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(("lines", "expected"), TRACEPARENTS.values(), ids=TRACEPARENTS)
def test_traceparent(interface: str, lines: list[str], expected: str | None) -> None:
    """A valid traceparent is the parent; anything else starts a new trace."""
    span = serve(interface, [("traceparent", line) for line in lines]).span
    parent = None if span.parent is None else f"{span.parent.trace_id:032x}"
    assert (expected, expected in {None, f"{span.context.trace_id:032x}"}) == (parent, True)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(("lines", "expected"), TRACESTATES.values(), ids=TRACESTATES)
def test_tracestate(interface: str, lines: list[str], expected: list[str]) -> None:
    """A tracestate's members are handed on in order; a malformed one costs the state and not the trace."""
    span = serve(interface, [("traceparent", GOOD), *(("tracestate", line) for line in lines)]).span
    members = [f"{key}={value}" for key, value in span.context.trace_state.items()]
    assert (expected, T) == (members, f"{span.context.trace_id:032x}")


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_tracestate_alone_is_discarded(interface: str) -> None:
    """Without a traceparent a tracestate means nothing."""
    span = serve(interface, [("tracestate", "foo=1")]).span
    expected = 0
    assert expected == len(span.context.trace_state)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("flags", [0, 1, 2, 3, 0xFF, 0xF4])
def test_flags(interface: str, flags: int) -> None:
    """The sampled and random flags are read; bits that mean nothing yet are not."""
    recording = serve(interface, [("traceparent", f"00-{T}-{P}-{flags:02x}")])
    seen = [span.parent.trace_flags for span in recording.spans if span.parent]
    sampled = flags & 1
    assert ([flags & 3] if sampled else []) == seen


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_an_unsampled_parent_keeps_its_trace(interface: str) -> None:
    """A request that is not sampled records metrics and no span, and is part of the trace all the same."""
    recording = serve(interface, [("traceparent", f"00-{T}-{P}-00")])
    expected = (0, 1, 0)
    seen = (len(recording.spans), recording.points("http.server.request.duration")[0].count, recording.active)
    assert expected == seen


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_baggage_passes(interface: str) -> None:
    """Baggage is in the application's context, that of several header lines too."""
    seen: list[Any] = []
    recording = Recording()

    def note() -> None:
        seen.extend([get_baggage("a"), get_baggage("b")])

    if interface == "wsgi":

        def app(given: Any, start_response: Any) -> list[bytes]:
            note()
            return plain(given, start_response)

        call_wsgi(recording.wsgi(app), environ(HTTP_BAGGAGE="a=1,b=2"))
    else:

        async def asgi_app(given: Any, receive: Any, send: Any) -> None:
            note()
            await sending_plain(given, receive, send)

        call_asgi(recording.asgi(asgi_app), scope(headers=[(b"baggage", b"a=1"), (b"baggage", b"b=2")]))
    expected = ["1", "2"]
    assert expected == seen


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize(
    ("propagator", "headers"),
    [
        ("b3", [("b3", f"{T}-{P}-1")]),
        ("b3", [("b3", f"{T}-{P}-1-{P}")]),
        ("b3multi", [("x-b3-traceid", T), ("x-b3-spanid", P), ("x-b3-sampled", "1")]),
        ("jaeger", [("uber-trace-id", f"{T}:{P}:0:1")]),
    ],
)
def test_other_propagators_work(
    interface: str, propagator: str, headers: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B3 and Jaeger headers are understood where OTEL_PROPAGATORS names them."""
    from importlib.metadata import entry_points

    (found,) = entry_points(group="opentelemetry_propagator", name=propagator)
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CompositePropagator([found.load()()]))
    named = [(name.replace("-", "_") if interface == "wsgi" else name, value) for name, value in headers]
    span = serve(interface, named).span
    assert f"{span.context.trace_id:032x}" == T


def test_ours_is_installed_only_where_the_user_chose_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default gives way; a propagator that was named by the variable or set by code stays."""
    stock = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    other = CompositePropagator([W3CBaggagePropagator()])
    mine = type("Mine", (TraceContextTextMapPropagator,), {})()
    derived = CompositePropagator([mine, W3CBaggagePropagator()])
    seen = []
    for seated, chosen in (
        (stock, False),
        (stock, True),
        (other, False),
        (derived, False),
        (propagation.DEFAULT, False),
    ):
        monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", seated)
        seen.append(propagation.install(chosen=chosen))
    expected = [True, False, False, False, True]
    assert expected == seen


def test_a_changed_member_moves_to_the_front() -> None:
    """Adding and updating put the member first and keep the order of the others; the limit holds."""
    state = TraceState.from_header(["a=1,b=2"])
    full = TraceState.from_header([",".join(MEMBERS[:32])])
    seen = (
        state.update("b", "3").to_header(),
        state.add("c", "4").to_header(),
        state.add("a", "9"),
        full.add("x", "1"),
    )
    assert ("b=3,a=1", "c=4,a=1,b=2", state, full) == seen


@given(
    header=st.one_of(st.text(max_size=80), st.from_regex(r"[0-9a-f.]{1,3}-[0-9a-f]{30,33}-[0-9a-f]{16}-[0-9a-f]{2}"))
)
def test_no_traceparent_raises(header: str) -> None:
    """Whatever is sent, the result is an id of the right size or none."""
    parsed = parse_traceparent(header)
    assert parsed is None or (0 < parsed[0] < 1 << 128 and 0 < parsed[1] < 1 << 64 and 0 <= parsed[2] <= 3)


@given(lines=st.lists(st.text(max_size=60), max_size=5))
def test_no_tracestate_raises_and_what_is_kept_is_valid(lines: list[str]) -> None:
    """What is read from any tracestate is read back the same from what would be sent on."""
    state = TraceState.from_header(lines)
    again = TraceState.from_header([state.to_header()])
    assert list(state.items()) == list(again.items())


@given(
    st.lists(
        st.tuples(
            st.integers(0, 55),
            st.sampled_from("0123456789abcdefABCDEFx.- \t\ng\0\u0663\xe9\ud800"),
            st.sampled_from(["put", "add", "cut"]),
        ),
        max_size=4,
    ),
    st.sampled_from([GOOD, f"00-{'0' * 32}-{P}-01", f"00-{T}-{'0' * 16}-01", f"cc-{T}-{P}-01"]),
)
def test_the_quick_reading_says_what_the_careful_one_does(changes: list[tuple[int, str, str]], header: str) -> None:
    """Whatever is wrong with a header: the sender is what the grammar finds, or none, and stays so as a span context."""
    for place, letter, how in changes:
        put, kept = {"put": (letter, 1), "add": (letter, 0), "cut": ("", 1)}[how]
        header = header[:place] + put + header[place + kept :]
    seen, parsed = sender(header), parse_traceparent(header)
    expected = None if parsed is None else b"00-%032x-%016x-%02x" % parsed
    assert (expected, expected) == (seen, seen and sender_of(remote(seen)))
    assert parsed is None or parsed[0].to_bytes(16, "big") == trace_of(expected)


def test_flags_that_mean_nothing_are_not_kept() -> None:
    """Of all 256 the two known ones stay (section 3.2.2.5)."""
    expected = [f"00-{T}-{P}-{flags & 3:02x}".encode() for flags in range(256)]
    assert expected == [sender(f"00-{T}-{P}-{flags:02x}") for flags in range(256)]
