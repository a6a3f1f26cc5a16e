"""What is run: each section starts one process per variant and goes through them in rounds, A B C A B C.

A sample is microseconds of CPU a request. Two samples are compared only if they are of one round.
"""

from __future__ import annotations

import contextlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from benchmarks import client
from benchmarks.processes import Child, Server, Sink
from benchmarks.variants import VARIANTS

Key = tuple[str, str, str, str]
"""(measure, interface, phase, variant); the measure is thread, process, metrics, server or memory."""

_WARM = 200
_WARM_SERVER = 2_000
"""A server's first requests load, allocate and connect what the later ones have."""


@dataclass
class Plan:
    """How much to run."""

    rounds: int
    requests: int
    starts: int
    """How often the processes of a section are started anew, so that no figure hangs on one memory layout."""
    memory_requests: int
    variants: tuple[str, ...] = ()


@dataclass
class Results:
    """Samples by key, in the order of the rounds, and what was not delivered."""

    samples: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    checked: int = 0
    complaints: list[str] = field(default_factory=list)

    def check(self, what: str, expected: int, got: int) -> None:
        """Note that something should have arrived, and whether it did."""
        self.checked += 1
        if got != expected:
            self.complaints.append(f"{what}: {got} of {expected} arrived")


def in_process(interface: str) -> Callable[[Plan, Sink, Results], None]:
    """Return the section that drives all variants of an interface in-process."""

    def section(plan: Plan, sink: Sink, results: Results) -> None:
        phases = ("traceparent", "none", "unsampled")
        named = [variant.name for variant in VARIANTS.values() if not variant.extra]
        _rounds(plan, sink, results, interface, phases, named, {})

    return section


def ratio(plan: Plan, sink: Sink, results: Results) -> None:
    """No incoming trace, and a sampler that takes none."""
    env = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    for interface in ("wsgi", "asgi"):
        named = ("bare", "otelfork", "sdk", "contrib", "contrib-one")
        _rounds(plan, sink, results, interface, ("none",), named, env, phase_name="ratio 0")


def extras(plan: Plan, sink: Sink, results: Results) -> None:
    """What otelfork costs with the host's figures on its spans, and with profiles, beside otelfork alone."""
    named = ("bare", "otelfork", *(variant.name for variant in VARIANTS.values() if variant.extra))
    for interface in ("wsgi", "asgi"):
        _rounds(plan, sink, results, interface, ("traceparent",), named, {}, phase_name="extras")


def excluded(plan: Plan, sink: Sink, results: Results) -> None:
    """A URL that the settings exclude, the bare call beside it."""
    env = {"OTEL_PYTHON_EXCLUDED_URLS": "/health"}
    for interface in ("wsgi", "asgi"):
        named = ("bare", "otelfork") if interface == "wsgi" else ("bare", "otelfork", "contrib")
        _rounds(plan, sink, results, interface, ("excluded",), named, env)


def concurrency(plan: Plan, sink: Sink, results: Results) -> None:
    """1, 100 and 1,000 ASGI requests in the air."""
    for _start, children in _started(plan, sink, "asgi", ("bare", "otelfork"), {}):
        for _ in _turns(plan):
            for concurrent in (1, 100, 1000):
                for name, child in children.items():
                    reply = child.run("traceparent", plan.requests, concurrent=concurrent)
                    key = ("process", "asgi", f"{concurrent} concurrent", name)
                    results.samples[key].append(reply["process"] / plan.requests * 1e6)
                    _check(results, "asgi", "traceparent", name, plan.requests, reply)


def memory(plan: Plan, sink: Sink, results: Results) -> None:
    """Peak memory after each tenth of many requests, no two of which have path, host or client in common."""
    slices = 10
    requests = plan.memory_requests // slices
    for interface in ("wsgi", "asgi"):
        for name in _chosen(plan, interface, ("bare", "otelfork", "sdk")):
            with Child(name, interface, sink, {"OTEL_BSP_MAX_QUEUE_SIZE": "2048"}) as child:
                for number in range(slices):
                    reply = child.run("varied", requests, first=number * requests)
                    results.samples["memory", interface, str(number), name].append(reply["peak"] / 2**20)
            _dot()


def servers(plan: Plan, sink: Sink, results: Results) -> None:
    """Whole servers: gunicorn for WSGI, uvicorn for ASGI."""
    for interface in ("wsgi", "asgi"):
        named = ("bare", "otelfork", "sdk", "contrib", "contrib-one", "ddtrace", "logfire", "sentry")
        chosen = [VARIANTS[name] for name in _chosen(plan, interface, named)]
        with contextlib.ExitStack() as stack:
            started = {variant: stack.enter_context(Server(variant.name, interface, sink)) for variant in chosen}
            for variant, server in started.items():
                client.load(server.port, "traceparent", _WARM_SERVER)
                sink.wait_for_spans(_WARM_SERVER * variant.spans_sent(interface))
                sink.take()
            for _ in range(plan.rounds):
                _dot()
                for variant, server in started.items():
                    _serve(plan, sink, results, interface, variant.name, server)
            for variant, server in started.items():
                results.samples["memory", interface, "worker", variant.name].append(server.memory() / 2**20)


def _serve(plan: Plan, sink: Sink, results: Results, interface: str, name: str, server: Server) -> None:
    requests = plan.requests
    sink.take()
    before = server.cpu()
    client.load(server.port, "traceparent", requests)
    variant = VARIANTS[name]
    sink.wait_for_spans(requests * variant.spans_sent(interface))
    results.samples["server", interface, "traceparent", name].append((server.cpu() - before) / requests * 1e6)
    if variant.spans:
        results.check(f"server {interface} {name} spans", requests, sink.take()["requests"])


def _rounds(
    plan: Plan,
    sink: Sink,
    results: Results,
    interface: str,
    phases: Iterable[str],
    named: Iterable[str],
    env: dict[str, str],
    phase_name: str | None = None,
) -> None:
    for _start, children in _started(plan, sink, interface, named, env):
        for _ in _turns(plan):
            for phase in phases:
                for name, child in children.items():
                    reply = child.run(phase, plan.requests)
                    shown = phase_name or phase
                    for measure in ("thread", "process", "metrics"):
                        divisor = 1 if measure == "metrics" else plan.requests
                        key = (measure, interface, shown, name)
                        results.samples[key].append(reply[measure] / divisor * 1e6)
                    _check(results, interface, shown, name, plan.requests, reply)


def _check(results: Results, interface: str, phase: str, name: str, requests: int, reply: dict[str, int]) -> None:
    variant = VARIANTS[name]
    where = f"{interface} {phase} {name}"
    if phase in {"traceparent", "none"} and variant.spans:
        results.check(f"{where} spans", requests, reply["requests"])
    if phase in {"unsampled", "ratio 0", "excluded"} and variant.spans and variant.strict:
        results.check(f"{where} spans", 0, reply["requests"])
    if variant.points:
        results.check(f"{where} points", 0 if phase == "excluded" else requests, reply["measured"])


def _started(
    plan: Plan, sink: Sink, interface: str, named: Iterable[str], env: dict[str, str]
) -> Iterator[tuple[int, dict[str, Child]]]:
    chosen = _chosen(plan, interface, named)
    for start in range(plan.starts):
        with contextlib.ExitStack() as stack:
            children = {name: stack.enter_context(Child(name, interface, sink, env)) for name in chosen}
            for child in children.values():
                for phase in ("traceparent", "unsampled", "excluded" if env else "none"):
                    child.run(phase, _WARM)
            yield start, children


def _turns(plan: Plan) -> Iterator[int]:
    for number in range(-(-plan.rounds // plan.starts)):
        _dot()
        yield number


def _chosen(plan: Plan, interface: str, named: Iterable[str]) -> list[str]:
    wanted = [VARIANTS[name] for name in named if not plan.variants or name in {*plan.variants, "bare"}]
    return [variant.name for variant in wanted if variant.installed and interface in variant.interfaces]


def _dot() -> None:
    print(".", end="", file=sys.stderr, flush=True)
