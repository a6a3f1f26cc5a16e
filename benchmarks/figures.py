"""From samples to figures: ratios within one round, their medians and interquartile ranges, beside the targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.sections import Key

Samples = Mapping[Key, Sequence[float]]
SLACK = 1.1
"""The room for noise that the targets allow."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what otelfork costs, what a peer costs, and how the two compare."""

    group: str
    name: str
    ours: float
    peer: float
    ratio: float
    low: float
    """First quartile of the ratio."""
    high: float
    """Third quartile of the ratio."""
    target: float | None
    rounds: int

    @property
    def verdict(self) -> str:
        """Whether the target is met, with its slack for noise."""
        if self.target is None:
            return ""
        return "met" if self.ratio <= self.target * SLACK else "missed"

    def as_dict(self) -> dict[str, object]:
        """Return the figure for the JSON file."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass(frozen=True, slots=True)
class _Row:
    group: str
    ours: str
    peer: str
    measure: str
    interface: str
    phase: str
    target: float | None = None
    over: bool = True
    """Compare what both cost over the bare application, else as they are."""


_SAMPLED = {"contrib-one": (None, 0.055), "contrib": (0.06, 0.03), "sdk": (0.085, 0.10)}
_UNSAMPLED = {"contrib-one": None, "contrib": 0.09, "sdk": 0.20}
_VENDORS = ("logfire", "ddtrace", "sentry")
_PEERS = ("contrib-one", "contrib", "sdk", *_VENDORS)
_SERVERS = (("wsgi", "gunicorn"), ("asgi", "uvicorn"))
_SERVED = {"contrib-one": 0.10, "contrib": 0.06}


def _rows() -> list[_Row]:
    rows = []
    for index, interface in enumerate(("wsgi", "asgi")):
        for phase in ("traceparent", "none"):
            group = f"{interface.upper()}, sampled" + (", no incoming trace" if phase == "none" else "")
            for peer, targets in _SAMPLED.items():
                rows.append(_Row(group, "otelfork", peer, "process", interface, phase, targets[index]))
            rows += [_Row(group, "otelfork", peer, "process", interface, phase) for peer in _VENDORS]
        group = f"{interface.upper()}, request thread alone"
        rows.append(_Row(group, "otelfork", "prometheus", "thread", interface, "traceparent", 1.0))
        for phase in ("unsampled", "ratio 0"):
            group = f"{interface.upper()}, {phase}"
            rows += [
                _Row(group, "otelfork", peer, "process", interface, phase, target)
                for peer, target in _UNSAMPLED.items()
            ]
        group = f"{interface.upper()}, excluded URL"
        rows.append(_Row(group, "otelfork", "bare", "thread", interface, "excluded", 1.3, over=False))
        rows.append(_Row(group, "otelfork", "contrib", "thread", interface, "excluded", over=False))
        for ours, what in (("otelfork-system", "system attributes"), ("otelfork-profiles", "profiles")):
            group = f"{interface.upper()}, request thread, with {what}"
            rows.append(_Row(group, ours, "otelfork", "thread", interface, "extras"))
        group = f"{interface.upper()}, user's own providers"
        rows.append(_Row(group, "otelfork-own", "sdk", "process", interface, "traceparent", 0.20))
        group = f"{interface.upper()}, public names alone"
        rows.append(_Row(group, "otelfork-public", "sdk-null", "process", interface, "traceparent", 1.1))
    for interface, server in _SERVERS:
        for peer in _PEERS:
            target = _SERVED.get(peer) if interface == "asgi" else None
            rows.append(_Row(f"whole server, {server}", "otelfork", peer, "server", interface, "traceparent", target))
    return rows


def comparisons(samples: Samples) -> list[Figure]:
    """Return the figures there are samples for."""
    figures = []
    for row in _rows():
        ours = samples.get((row.measure, row.interface, row.phase, row.ours))
        peer = samples.get((row.measure, row.interface, row.phase, row.peer))
        bare = samples.get((row.measure, row.interface, row.phase, "bare"))
        if not ours or not peer or not bare:
            continue
        if row.over:
            ours = [ours - without for ours, without in zip(ours, bare, strict=True)]
            peer = [peer - without for peer, without in zip(peer, bare, strict=True)]
        figures.append(compared(row.group, row.peer, ours, peer, row.target))
    return [*figures, *_flatness(samples), *_memory(samples)]


def compared(group: str, name: str, ours: Sequence[float], peer: Sequence[float], target: float | None) -> Figure:
    """Compare two series of samples of the same rounds."""
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    low, high = quartiles(ratios)
    median = statistics.median
    return Figure(group, name, median(ours), median(peer), median(ratios), low, high, target, len(ratios))


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile; of a single value, the value twice."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def _flatness(samples: Samples) -> list[Figure]:
    """The cost over the bare application with many requests in the air, beside the cost with one."""
    over = {}
    for concurrent in (1, 100, 1000):
        phase = f"{concurrent} concurrent"
        ours = samples.get(("process", "asgi", phase, "otelfork"), ())
        bare = samples.get(("process", "asgi", phase, "bare"), ())
        over[concurrent] = [mine - without for mine, without in zip(ours, bare, strict=True)]
    if not over[1]:
        return []
    return [
        compared("ASGI, cost as load grows", f"{many} in the air, beside 1", over[many], over[1], 1.15)
        for many in (100, 1000)
    ]


def _memory(samples: Samples) -> list[Figure]:
    figures = []
    for interface in ("wsgi", "asgi"):
        series = [samples.get(("memory", interface, str(number), "otelfork"), ()) for number in (1, 9)]
        if all(series):
            group = f"{interface.upper()}, peak memory in MiB"
            figures.append(compared(group, "after all requests, beside a fifth", series[1], series[0], 1.05))
    for interface, server in _SERVERS:
        workers = {
            name: samples.get(("memory", interface, "worker", name), ()) for name in ("otelfork", *_PEERS, "bare")
        }
        ours = workers.pop("otelfork")
        group = f"memory of a worker in MiB, {server}"
        figures += [compared(group, peer, ours, theirs, None) for peer, theirs in workers.items() if ours and theirs]
    return figures
