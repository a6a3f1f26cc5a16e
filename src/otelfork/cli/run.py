"""`otelfork run`: becomes a program that has telemetry without a line of code; pid and signals are the program's own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from otelfork import distro
from otelfork.run import runs
from otelfork.settings.run import RUN_VARIABLE

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit statuses where there is nothing to run, as a shell's."""

OPTIONS: tuple[tuple[str, str, str], ...] = (
    ("--service-name", "OTEL_SERVICE_NAME", "Name of the service."),
    ("--resource-attributes", "OTEL_RESOURCE_ATTRIBUTES", "Attributes of the service: name=value,name=value."),
    ("--traces-exporter", "OTEL_TRACES_EXPORTER", "otlp, console, jaeger, zipkin, none, or a list."),
    ("--metrics-exporter", "OTEL_METRICS_EXPORTER", "otlp, console, none, or a list."),
    ("--logs-exporter", "OTEL_LOGS_EXPORTER", "otlp, console, logging, none, or a list."),
    ("--endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", "Where the collector is."),
    ("--protocol", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc or http/protobuf."),
    ("--headers", "OTEL_EXPORTER_OTLP_HEADERS", "Headers for the collector: name=value,name=value."),
    ("--sampler", "OTEL_TRACES_SAMPLER", "Which traces are kept."),
    ("--sampler-arg", "OTEL_TRACES_SAMPLER_ARG", "The sampler's argument, a ratio mostly."),
    ("--propagators", "OTEL_PROPAGATORS", "How trace context is sent and read."),
    ("--metric-interval", "OTEL_METRIC_EXPORT_INTERVAL", "Milliseconds between two exports of metrics."),
    ("--excluded-urls", "OTEL_PYTHON_EXCLUDED_URLS", "Regular expressions of URLs without telemetry."),
    ("--disabled-instrumentations", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "What is not to be activated, by name."),
    ("--config-file", "OTEL_CONFIG_FILE", "A declarative configuration in place of variables."),
    ("--spool-dir", "OTELFORK_SPOOL_DIR", "Where spans and logs survive a kill and an outage."),
    ("--exit-timeout", "OTELFORK_EXIT_TIMEOUT", "Seconds that a process may spend on its telemetry while it leaves."),
)
FLAGS: tuple[tuple[str, str, str], ...] = (
    ("--logs", "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "Make log records telemetry."),
    ("--log-correlation", "OTEL_PYTHON_LOG_CORRELATION", "Give log records the trace's ids."),
    ("--gunicorn-trace-workers", "OTEL_GUNICORN_TRACE_WORKERS", "Measure gunicorn's workers: processor and memory."),
    ("--system-metrics", "OTELFORK_SYSTEM_METRICS", "Metrics of the processes and of the host."),
    ("--system-attributes", "OTELFORK_SYSTEM_ATTRIBUTES", "The host's figures on spans."),
)


class NothingToRunError(Exception):
    """There is no such command."""


def program(name: str) -> list[str]:
    """Return what a command's first word starts: a program beside our own Python, one on PATH, or `python -m` of a module.

    Beside our Python first: a server of another environment would not find otelfork.

    Raises:
        NothingToRunError: there is none of these.
    """
    if os.path.dirname(name):  # noqa: PTH120 - as a shell: a slash anywhere makes it a path
        return [name]
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is not None:
        return [found]
    if name.isidentifier() and importlib.util.find_spec(name) and importlib.util.find_spec(f"{name}.__main__"):
        return [sys.executable, "-m", name]
    raise NothingToRunError(
        f"{name!r} is neither a command beside {sys.executable}, nor on PATH, nor a module with a __main__"
    )


def environment(chosen: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the program's environment: the chosen variables over the inherited ones, our folder first on PYTHONPATH, its run.

    Args:
        chosen: variables from the command line.
        inherited: this process's own.
    """
    site = str(distro.SITE)
    path = [folder for folder in inherited.get("PYTHONPATH", "").split(os.pathsep) if folder and folder != site]
    return {
        "OTEL_PYTHON_DISTRO": distro.NAME,
        "OTEL_PYTHON_CONFIGURATOR": distro.NAME,
        **inherited,
        **chosen,
        "PYTHONPATH": os.pathsep.join([site, *path]),
        # This process becomes the server: its pid and start time stay. A run that started this one is another run.
        RUN_VARIABLE: runs.identify(os.getpid()),
    }


def _with_options(command: Any) -> Any:
    for name, variable, text in reversed(FLAGS):
        command = click.option(name, variable, flag_value="true", default=None, help=f"{text} [{variable}]")(command)
    for name, variable, text in reversed(OPTIONS):
        command = click.option(name, variable, metavar="VALUE", help=f"{text} [{variable}]")(command)
    return command


@click.command("run", context_settings={"allow_interspersed_args": False})
@_with_options
@click.argument("command_line", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(*, command_line: Sequence[str], **given: str | None) -> None:
    """Run COMMAND with telemetry; its WSGI or ASGI application needs no line of code.

    Known are gunicorn, uWSGI, uvicorn, hypercorn and granian. The options stand for the variables beside them, which work
    as well; what cannot be used is said once, and the program runs on untraced.

    Exit status: COMMAND's own; 127 there is none, 126 it cannot be executed.

    \b
    Example:
      otelfork run --service-name shop --endpoint http://localhost:4318 gunicorn -w 4 app:app
    """
    chosen = {name.upper(): value for name, value in given.items() if value is not None}
    try:
        found = program(command_line[0])
        os.execvpe(found[0], [*found, *command_line[1:]], environment(chosen, os.environ))  # noqa: S606 - what it is for
    except (NothingToRunError, FileNotFoundError) as error:
        _refuse(error, NOT_FOUND)
    except OSError as error:
        _refuse(error, NOT_EXECUTABLE)


def _refuse(error: Exception, status: int) -> None:
    click.echo(f"otelfork run: {error}", err=True)
    sys.exit(status)
