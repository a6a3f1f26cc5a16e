"""Says whether telemetry works here: exports from a forked child with the environment's settings, and checks server options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from otelfork.cli.advice import Advice, advise
from otelfork.cli.options import Options, of_command, of_file
from otelfork.cli.probe import CHILD, PARENT
from otelfork.cli.starts import advise_start, without_code
from otelfork.settings import SIGNALS, Environment, Settings, SettingsError
from otelfork.settings.resource import service

PROBE_SECONDS = 60.0
WRONG, UNUSABLE = 1, 2
"""Exit statuses: something is to change; the settings or the files cannot be used."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the probe found: a line for each export, what was said on standard error, the settings' problem if they have one."""

    exports: tuple[dict[str, Any], ...]
    said: str
    problem: str = ""
    hung: bool = False

    def outcomes(self, process: str, signal: str) -> list[dict[str, Any]]:
        """Return the exports of one signal by one process."""
        return [each for each in self.exports if each["process"] == process and each["signal"] == signal]


def examine(timeout: float = PROBE_SECONDS) -> Diagnosis:
    """Run the probe in a fresh interpreter with this environment; it is ended after `timeout` seconds."""
    reading, writing = os.pipe()
    start = f"import sys; from otelfork.cli.probe import main; sys.exit(main({writing}))"
    command = [sys.executable, "-c", start]
    hung = False
    with subprocess.Popen(  # noqa: S603 - our own program
        command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(writing)
        try:
            _, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            hung = True
            process.kill()
            _, said = process.communicate()
    with os.fdopen(reading, encoding="utf-8") as lines:
        told = [json.loads(line) for line in lines]
    problem = next((str(each["problem"]) for each in told if "problem" in each), "")
    if not problem and process.returncode and not hung:
        problem = f"the probe ended with status {process.returncode}"
    return Diagnosis(tuple(each for each in told if "signal" in each), said.strip(), problem, hung)


def show_pipeline(console: Console, found: Diagnosis, settings: Settings) -> bool:
    """Print what left which process; tell whether all of it did."""
    table = Table(
        "signal", "exporter", PARENT, CHILD, title="one span, one point, one log record, by a fork of this pipeline"
    )
    healthy = not found.hung
    for signal in SIGNALS:
        names = settings.exporters[signal]
        cells = []
        for process in (PARENT, CHILD):
            outcomes = found.outcomes(process, signal)
            good = not names or (bool(outcomes) and all(each["outcome"] == "SUCCESS" for each in outcomes))
            healthy = healthy and good
            cells.append(_cell(outcomes, good=good) if names else "-")
        table.add_row(signal, ", ".join(names) or "none", *cells)
    console.print(table)
    if found.hung:
        console.print("[red]the probe hung and was ended: no process may wait so long for its telemetry[/]")
    for line in dict.fromkeys(found.said.splitlines()[-20:]):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    return healthy


def _cell(outcomes: Sequence[dict[str, Any]], *, good: bool) -> str:
    if not outcomes:
        return "[red]nothing was exported[/]"
    seconds = sum(float(each["seconds"]) for each in outcomes)
    return (
        f"[green]arrived[/] in {seconds:.2f} s"
        if good
        else f"[red]{outcomes[-1]['outcome'].lower()}[/] after {seconds:.2f} s"
    )


def show_advice(console: Console, options: Options, exit_timeout: float) -> bool:
    """Print what the server's options mean; tell whether nothing has to change."""
    return _show(console, advise(options, exit_timeout), f"{options.server}: {options.source}")


def _show(console: Console, advice: Sequence[Advice], title: str) -> bool:
    table = Table("option", "meaning", "change to", title=escape(title))
    for each in advice:
        table.add_row(each.option, escape(each.text), f"[yellow]{escape(each.change)}[/]" if each.change else "-")
    console.print(table)
    return not any(each.change for each in advice)


def _hints(settings: Settings) -> Iterator[str]:
    """Yield what is not wrong, and hardly meant."""
    if all(settings.exporters[signal] == ("console",) for signal in SIGNALS):
        yield "telemetry is printed and not sent: OTEL_EXPORTER_OTLP_ENDPOINT=http://... names a collector"
    if "service.name" not in service(Environment()):
        yield "no environment variable names the service: OTEL_SERVICE_NAME=... (or configure(service_name=...))"


@click.command("doctor")
@click.option(
    "--config",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A uwsgi.ini or gunicorn.conf.py to check.",
)
@click.option("--no-export", is_flag=True, help="Check the options only; send nothing.")
@click.argument("server_command", nargs=-1, type=click.UNPROCESSED)
def command(*, files: tuple[Path, ...], no_export: bool, server_command: tuple[str, ...]) -> None:
    """Export from a forked child with this environment's settings, and check a server's options.

    SERVER_COMMAND is the command line of uWSGI or gunicorn, with `otelfork run` before it or without; it is read and not run.

    Exit status: 0 all is well, 1 something is to change, 2 the settings or a file cannot be used.

    \b
    Examples:
      otelfork doctor
      otelfork doctor -- gunicorn --workers 4 app:app
      otelfork doctor --no-export --config uwsgi.ini
    """
    console = Console(highlight=False)
    try:
        settings = Settings.read()
        servers = [of_file(path) for path in files]
        named = of_command(server_command) if server_command else None
    except (SettingsError, OSError, ValueError, SyntaxError) as error:
        click.echo(f"otelfork doctor: {error}", err=True)
        sys.exit(UNUSABLE)
    way = without_code(server_command)
    if server_command and named is None and not way:
        text = f"{server_command[0]}: no options are checked; only those of uWSGI and gunicorn are known"
        console.print(text, markup=False, soft_wrap=True)
    healthy = True
    if not no_export:
        found = examine()
        if found.problem:
            click.echo(f"otelfork doctor: {found.problem}\n{found.said}", err=True)
            sys.exit(UNUSABLE)
        healthy = show_pipeline(console, found, settings)
    start = advise_start(server_command)
    if start:
        healthy = _show(console, start, f"what {way} loads") and healthy
    for options in [*servers, *([named] if named else [])]:
        healthy = show_advice(console, options, settings.exit_timeout) and healthy
    for line in _hints(settings):
        console.print(line, markup=False, soft_wrap=True)
    console.print("all is well" if healthy else "something is to change")
    sys.exit(0 if healthy else WRONG)
