"""What a server's options mean for the telemetry of a worker that leaves, by the exit table (docs/conformance.md).

It must not know files or terminals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from otelfork.cli.options import GUNICORN, UWSGI, Options


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing about one option; `change` is what to set, empty for a mere note."""

    option: str
    text: str
    change: str = ""


def advise(options: Options, exit_timeout: float) -> list[Advice]:
    """Return what is to change and what is good to know; `exit_timeout` is OTELFORK_EXIT_TIMEOUT in seconds."""
    found = [*{UWSGI: _uwsgi, GUNICORN: _gunicorn}[options.server](options, exit_timeout), *_zero(options)]
    return sorted(found, key=lambda advice: not advice.change)


def _zero(options: Options) -> Iterator[Advice]:
    if not options.zero:
        return
    if options.on("sets_provider"):
        text = (
            "under zero code the seat is taken when Python starts: a provider set later is refused, its resource unused"
        )
        change = "OTEL_* variables in place of the recipe, or a start without otelfork run"
        yield Advice("set_tracer_provider", text, change)
    if options.on("no_site"):
        yield Advice("no-site", "without Python's site module otelfork run reaches no interpreter", "remove no-site")


def _uwsgi(options: Options, exit_timeout: float) -> Iterator[Advice]:
    if not options.on("master"):
        yield Advice(
            "master", "without a master nobody sees workers die, and each is a run of its own", "master = true"
        )
    if not options.on("enable_threads") and options.number("threads", 0) < 1:
        text = (
            "without threads a worker exports only when it leaves: what it recorded waits, and a kill loses all of it"
        )
        yield Advice("enable-threads", text, "enable-threads = true")
    if not options.on("die_on_term"):
        yield Advice("die-on-term", "SIGTERM reloads uWSGI instead of stopping it", "die-on-term = true")
    if options.on("skip_atexit"):
        yield Advice(
            "skip-atexit", "no exit code runs in a worker: what is not exported yet is lost", "remove skip-atexit"
        )
    if options.number("worker_reload_mercy", 60) <= exit_timeout:
        mercy = options.values["worker_reload_mercy"]
        text = f"a worker is killed after {mercy} s, its last flush may take {exit_timeout:g} s"
        yield Advice("worker-reload-mercy", text, f"worker-reload-mercy = {int(exit_timeout) + 2}")
    if options.on("die_on_term"):
        yield Advice("die-on-term", "class clean for an idle worker; a busy one is killed, its request is recovered")
    if options.on("harakiri"):
        yield Advice("harakiri", "class killed: the request is recovered, finished spans of the last interval are lost")
    if options.on("skip_atexit_teardown"):
        yield Advice("skip-atexit-teardown", "harmless: uwsgi.atexit still runs, and that is where we flush")
    if not options.on("lazy_apps") and not options.on("py_call_uwsgi_fork_hooks"):
        yield Advice("lazy-apps", "forks in C run no hook of Python; each worker notices by its pid, nothing to set")
    if options.on("max_requests"):
        yield Advice("max-requests", "class clean: a recycled worker flushes before it leaves")


def _gunicorn(options: Options, exit_timeout: float) -> Iterator[Advice]:
    if options.number("graceful_timeout", 30) <= exit_timeout:
        text = f"a worker is killed {options.values['graceful_timeout']} s after TERM, its last flush may take {exit_timeout:g} s"
        yield Advice("graceful_timeout", text, f"graceful_timeout = {int(exit_timeout) + 2}")
    if options.number("timeout", 30) == 0:
        text = "workers are never timed out: a request that hangs for ever is never seen"
        yield Advice("timeout", text, "timeout = 30")
    if options.number("max_requests", 0) and not options.number("max_requests_jitter", 0):
        text = "all workers are recycled at one time, and with a slow collector nobody serves meanwhile"
        yield Advice(
            "max_requests_jitter", text, f"max_requests_jitter = {int(options.number('max_requests', 0)) // 10 or 1}"
        )
    worker = options.values.get("worker_class", "sync")
    if "uvicorn" in worker:
        text = "no atexit, no worker_exit: flushed at the lifespan's shutdown; without a lifespan after each request from TERM on"
        yield Advice("worker_class", text)
    if worker == "sync" and options.number("timeout", 30):
        yield Advice(
            "timeout", "a hung request ends with its stack; a worker that hangs in C is killed, its request recovered"
        )
    if options.on("preload_app"):
        yield Advice("preload_app", "the master forks clean as long as nothing is recorded while it imports")
    if "post_fork" in options.values:
        yield Advice("post_fork", "not needed for telemetry: the first use in each worker builds its own")
