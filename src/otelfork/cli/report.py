"""Shows an account to people and machines.

It must not know how the account came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from otelfork.cli.account import DURATION, Account
from otelfork.cli.load import Sent

_LINES_SHOWN = 20
_REQUESTS_SHOWN = 10


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], object] | None]:
    """Yield what shows the number of requests done as a bar on standard error, or None if that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("requests", total=total)
        yield lambda done: progress.update(task, completed=done)


def print_account(account: Account) -> None:
    """Print the account on standard output; the last line is `Account.summary`, for machines."""
    console = Console(highlight=False)
    console.print(_workers(account))
    console.print(f"{account.answered} of {account.sent} requests answered, {len(account.failed)} failed")
    _print_requests(console, "failed:", account.failed)
    _print_requests(console, "answered, but without a server span:", account.missing)
    if account.killed_worker is not None:
        unseen = f"{len(account.unseen)} unanswered requests without a span"
        console.print(
            f"worker {account.killed_worker} was killed: {account.recovered} requests recovered, {unseen}",
            soft_wrap=True,
        )
        console.print(
            f"lost in its last export interval of {account.interval:g} s: {account.excused} of {account.lost}"
        )
    if account.hung is not None:
        seen = "no span" if account.hung in account.unseen else "a span"
        console.print(f"the request that hung has {seen}: trace {account.hung.trace_id}", soft_wrap=True)
    if account.repeated_span_ids:
        console.print(f"span ids delivered more than once: {len(account.repeated_span_ids)}")
    if account.other_server_spans:
        console.print(f"server spans of other requests: {account.other_server_spans}")
    for warning in _warnings(account):
        console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    console.print(f"server stopped in {account.stop_seconds:.2f} s with status {account.exit_status}")
    count, expected = account.histogram_count, account.histogram_expected
    console.print(f"{DURATION} count {count} expected {expected}", soft_wrap=True)
    console.print(account.summary, soft_wrap=True)


def print_output(output: str) -> None:
    """Print the last lines of a server's output on standard error."""
    console = Console(stderr=True, highlight=False)
    lines = output.splitlines()[-_LINES_SHOWN:]
    if lines:
        console.print(f"last {len(lines)} lines of the server's output:")
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _workers(account: Account) -> Table:
    table = Table("pid")
    table.add_column("instance id", overflow="fold", min_width=36)
    table.add_column("server spans", justify="right")
    table.add_column("duration count", justify="right")
    for worker in account.workers:
        pid = "-" if worker.pid is None else str(worker.pid)
        table.add_row(pid, escape(worker.instance_id) or "-", str(worker.spans), str(worker.histogram_count))
    return table


def _print_requests(console: Console, title: str, requests: Sequence[Sent]) -> None:
    if not requests:
        return
    console.print(title)
    for request in requests[:_REQUESTS_SHOWN]:
        outcome = request.error or f"status {request.status}"
        line = f"  trace {request.trace_id} {request.url} after {request.seconds:.3f} s: {outcome}"
        console.print(line, markup=False, soft_wrap=True)
    if len(requests) > _REQUESTS_SHOWN:
        console.print(f"  and {len(requests) - _REQUESTS_SHOWN} more")


def _warnings(account: Account) -> Iterator[str]:
    if not account.listening:
        yield "the collector took nothing: only the server's answers and its stop are judged"
    elif not account.workers:
        yield (
            "no telemetry arrived: write app = OtelMiddleware(app) in the application, or `otelfork run` before the command; "
            "a server that says nothing about it (--show-output) traces nothing"
        )
    for instance_id in account.shared_instance_ids:
        yield f"service.instance.id {instance_id or '(none)'} belongs to two processes at the same time"
    if account.died:
        yield "the server ended by itself, before it was asked to"
    if account.killed:
        yield "the server did not stop in time and was killed"
    if account.left_running:
        yield f"processes outlived the server and were killed: {', '.join(map(str, account.left_running))}"
    if not account.quiet:
        yield "telemetry was still arriving when the account was made"
