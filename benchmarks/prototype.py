"""What a throw-away prototype cost, whose figures the first targets come from, beside this run.

It lacked much that is on by default here, and ran on another machine: the peers that were measured with it tell how much of a
difference is the machine's. It must not know how anything is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

LACKED = "without scoreboard rows, fork check, redaction, route lookup, body sizes"
_THEN = {
    "otelfork": {"wsgi": "6.1-6.5", "asgi": "8.0"},
    "sdk": {"wsgi": "101", "asgi": "108"},
    "sdk-null": {"wsgi": "57", "asgi": "63"},
    "prometheus": {"wsgi": "4.9", "asgi": "5.4"},
}
"""CPU microseconds a sampled request over the bare application, by variant and interface; of otelfork, the prototype's."""


def table(samples: Mapping[tuple[str, str, str, str], Sequence[float]], labels: Mapping[str, str]) -> Table:
    """Return the prototype's figures beside the medians of this run; without rows if nothing of it was run."""
    made = Table(title=f"the prototype's figures beside this run (prototype, {LACKED})", title_justify="left")
    made.add_column("us a request, over the bare application")
    for interface in ("WSGI", "ASGI"):
        for when in ("then", "now"):
            made.add_column(f"{interface} {when}", justify="right")
    for variant, then in _THEN.items():
        found = {interface: _median(samples, interface, variant) for interface in then}
        if any(found.values()):
            label = "prototype, otelfork" if variant == "otelfork" else labels[variant]
            made.add_row(label, *_cells(then, found))
    return made


def _cells(then: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for interface, figure in then.items():
        yield figure
        yield found[interface]


def _median(samples: Mapping[tuple[str, str, str, str], Sequence[float]], interface: str, variant: str) -> str:
    key = ("process", interface, "traceparent")
    bare, ours = samples.get((*key, "bare")), samples.get((*key, variant))
    if not bare or not ours:
        return ""
    return f"{statistics.median(each - without for each, without in zip(ours, bare, strict=True)):.1f}"
