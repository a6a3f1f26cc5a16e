"""Verifies that no request's telemetry is lost or doubled: `run` for tests, `command` for people."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import click

from otelfork.cli.account import Account, Match, match
from otelfork.cli.load import Sent, drive
from otelfork.cli.mishaps import COLLECTORS, GOOD, Happening, Mishaps
from otelfork.cli.report import print_account, print_output, progress_bar
from otelfork.cli.server import ServerNotStartedError, ServerProcess, Stopped, free_port, listening
from otelfork.receiver import HTTP, PROTOCOLS, Receiver
from otelfork.settings import Environment
from otelfork.settings.run import RunSettings

NOT_STARTED = 2
"""The exit status for a server that did not start."""
TERMINATED = 128 + signal.SIGTERM
"""The exit status when the command itself is sent SIGTERM: it stops the server first."""

SETTLE_SECONDS = 6.0
"""How long survivors may take to send what a killed worker was busy with."""

_PORT = "{port}"
_CLOSED = ("ConnectError", "ReadError", "RemoteProtocolError")
"""How connections fail where nobody serves them (httpx)."""
_DESTINATION = re.compile(
    r"OTEL_EXPORTER_OTLP_((TRACES|METRICS|LOGS)_)?"
    r"(ENDPOINT|PROTOCOL|HEADERS|INSECURE|CERTIFICATE|CLIENT_CERTIFICATE|CLIENT_KEY)"
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


def run(
    command: Sequence[str],
    *,
    url: str,
    requests: int = 200,
    concurrency: int = 8,
    protocol: str = HTTP,
    paths: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    start_timeout: float = 30.0,
    timeout: float = 30.0,
    keep_alive: bool = False,
    drain: float = 0.0,
    progress: Callable[[int], object] | None = None,
    receiver: Receiver | None = None,
    show_output: bool = False,
    mishaps: Mishaps | None = None,
) -> Account:
    """Run a server, drive it, stop it and account for the telemetry of every request.

    `{port}` in `url` and in `command` becomes a free port. The requests go to `url`, or to `url` followed by
    each of `paths` in turn. The server gets this process's environment with its OTLP destination replaced, then
    `environment` on top. `start_timeout` is how long it may take to listen; `timeout` holds for each thing
    waited for after that: an answer, its end, the last of its telemetry. All in seconds. `keep_alive` reuses
    connections, which leaves some workers without requests. `drain` is how long the server is left in peace
    before SIGTERM, as behind a load balancer (a uWSGI worker that still writes its last log line runs no exit
    code). `progress` is called with the number of requests done. A `receiver` that is given is used (and its
    faults) and left open; it should be empty. `mishaps` are what is to go wrong on purpose.

    Raises ServerNotStartedError if the server cannot be driven, ValueError for arguments that mean nothing.
    """
    _check(command, url, requests, concurrency)
    port = str(free_port())
    command = [part.replace(_PORT, port) for part in command]
    url = url.replace(_PORT, port)
    host, url_port = _address(url)
    if listening(host, url_port):
        raise ServerNotStartedError(f"something else listens on {host}:{url_port} already")
    urls = [url.rstrip("/") + path for path in paths] or [url]
    mishaps = mishaps or Mishaps()
    with ExitStack() as stack:
        receiver = receiver or stack.enter_context(mishaps.receiver() if mishaps.collector != GOOD else Receiver())
        variables = {**_environment(receiver, protocol), **mishaps.environment(), **(environment or {})}
        server = stack.enter_context(ServerProcess(command, environment=variables, cwd=cwd, show_output=show_output))
        server.wait_until_listening(host, url_port, start_timeout)
        happening = Happening(
            mishaps,
            server,
            url=url,
            requests=requests,
            timeout=timeout,
            run_directories=RunSettings.read(Environment(variables)).directories,
            progress=progress,
        )
        sent = drive(
            urls,
            requests=requests,
            concurrency=concurrency,
            timeout=timeout,
            keep_alive=keep_alive,
            progress=happening.progress,
        )
        sent += happening.finish()
        _settle(receiver, sent, happening)
        time.sleep(drain)
        stopped = server.stop(timeout)
        output = server.output()
        if stopped.died and not any(one.answered for one in sent):
            reason = f"the server ended with status {stopped.exit_status} before it answered a request"
            raise ServerNotStartedError(reason, output=output, exit_status=stopped.exit_status)
        if not receiver.spans and all((one.error or "").startswith(_CLOSED) for one in sent):
            raise ServerNotStartedError(f"none of {len(sent)} requests was answered: {sent[-1].error}", output=output)
        quiet = receiver.wait_until_quiet(timeout=timeout)
        account = _account(sent, match(sent, receiver.spans, receiver.points), stopped, output, quiet=quiet)
        return _with_mishaps(
            account, mishaps, happening, float(variables.get("OTEL_BSP_SCHEDULE_DELAY") or 5000) / 1000
        )


def _settle(receiver: Receiver, sent: Sequence[Sent], happening: Happening) -> None:
    """Give the survivors the time to send what the dead worker was busy with."""
    if happening.killed is None and happening.hung is None:
        return
    failed = {(one.trace_id, one.parent_span_id) for one in sent if not one.answered}
    receiver.wait_for(
        lambda receiver: failed <= {(span.trace_id, span.parent_span_id) for span in receiver.spans}, SETTLE_SECONDS
    )


def _with_mishaps(account: Account, mishaps: Mishaps, happening: Happening, interval: float) -> Account:
    excused = 0
    if happening.killed is not None:
        begin, end = happening.killed_at - interval - 0.5, happening.killed_at + 1.0
        excused = sum(begin <= one.ended <= end for one in account.missing)
    return replace(
        account,
        killed_worker=happening.killed,
        excused=excused,
        interval=interval,
        hung=happening.hung,
        listening=mishaps.listens,
    )


def _check(command: Sequence[str], url: str, requests: int, concurrency: int) -> None:
    if not command:
        raise ValueError("command is empty: expected the server's command line")
    if requests < 1 or concurrency < 1:
        raise ValueError(f"requests={requests}, concurrency={concurrency}: expected at least 1 of each")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url={url!r} is not valid: expected http://... or https://...")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"url={url!r} is not valid: it names no host")
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _environment(receiver: Receiver, protocol: str) -> dict[str, str]:
    """Return this process's environment, pointed at the receiver.

    What would lead some of the telemetry to the user's own collector is left out; how it is exported (compression,
    temporality, timeouts) stays. A proxy of the user's has no business on loopback.
    """
    variables = {name: value for name, value in os.environ.items() if not _DESTINATION.fullmatch(name)}
    if any(name.lower() in _PROXIES for name in variables):
        exceptions = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
        variables["no_proxy"] = variables["NO_PROXY"] = f"{exceptions},127.0.0.1,localhost".lstrip(",")
    return {**variables, **receiver.environment(protocol)}


def _account(sent: Sequence[Sent], found: Match, stopped: Stopped, output: str, *, quiet: bool) -> Account:
    failed = tuple(one for one in sent if not one.answered)
    return Account(
        sent=len(sent),
        answered=len(sent) - len(failed),
        failed=failed,
        received=found.received,
        recovered=found.recovered,
        unseen=found.unseen,
        lost=len(found.missing),
        missing=found.missing,
        duplicated=found.duplicated,
        repeated_span_ids=found.repeated_span_ids,
        other_server_spans=found.other_server_spans,
        histogram_count=found.histogram_count,
        histogram_expected=found.histogram_expected,
        workers=found.workers,
        stop_seconds=stopped.seconds,
        exit_status=stopped.exit_status,
        died=stopped.died,
        killed=stopped.killed,
        left_running=stopped.left_running,
        server_output=output,
        quiet=quiet,
    )


@click.command("verify", context_settings={"show_default": True})
@click.option("--url", required=True, help="Where the server answers; {port} becomes a free port.")
@click.option("--path", "paths", multiple=True, help="Appended to the URL; several are requested in turn.")
@click.option("--requests", type=click.IntRange(1), default=200, help="How many requests to send.")
@click.option("--concurrency", type=click.IntRange(1), default=8, help="How many requests at a time.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default=HTTP, help="How the server is to export.")
@click.option(
    "--start-timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    help="Seconds until the server has to listen.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    help="Seconds for each answer, for the server's stop, and for the last of its telemetry.",
)
@click.option("--keep-alive", is_flag=True, help="Reuse connections; by default each request has its own.")
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=0.0,
    help="Seconds between the last answer and SIGTERM.",
)
@click.option("--kill-one", is_flag=True, help="Kill a worker (SIGKILL) in the middle of the load.")
@click.option("--timeout-one", metavar="PATH", default="", help="Also send a request to PATH, which hangs.")
@click.option("--collector", type=click.Choice(COLLECTORS), default=GOOD, help="How the collector behaves.")
@click.option("--show-output", is_flag=True, help="Show the server's output as it comes.")
@click.argument("server_command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    *,
    url: str,
    paths: tuple[str, ...],
    requests: int,
    concurrency: int,
    protocol: str,
    start_timeout: float,
    timeout: float,
    keep_alive: bool,
    drain: float,
    kill_one: bool,
    timeout_one: str,
    collector: str,
    show_output: bool,
    server_command: tuple[str, ...],
) -> None:
    """Run SERVER_COMMAND, send requests and account for the telemetry of each.

    The server is pointed at an embedded OTLP receiver, asked, stopped with SIGTERM, and every answered
    request has to have exactly one server span and one count in the duration histogram.

    Exit status: 0 nothing lost or doubled, 1 something was, 2 the server did not start.

    \b
    Example:
      otelfork verify --url http://127.0.0.1:{port}/ -- gunicorn --preload -w 4 -b 127.0.0.1:{port} app:app
    """
    # A server of a session of its own would live on if a CI job's SIGTERM ended us without a word.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        with progress_bar(0 if show_output else requests) as progress:
            account = run(
                server_command,
                url=url,
                paths=paths,
                requests=requests,
                concurrency=concurrency,
                protocol=protocol,
                start_timeout=start_timeout,
                timeout=timeout,
                keep_alive=keep_alive,
                drain=drain,
                progress=progress,
                show_output=show_output,
                mishaps=Mishaps(kill_one, timeout_one, collector),
            )
    except ServerNotStartedError as error:
        print_output(error.output)
        click.echo(f"otelfork verify: {error}\n{_ADVICE}", err=True)
        sys.exit(NOT_STARTED)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not account.ok:
        print_output(account.server_output)
    print_account(account)
    sys.exit(0 if account.ok else 1)


_ADVICE = """\
Run the command by itself to see whether it starts, and on which port: it has to be that of --url.
{port} in both stands for a free one. A server that needs longer gets --start-timeout;
--show-output shows all that it says."""
