"""What a start without a line of code will load, told from the command line and what is installed. It runs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from otelfork import distro
from otelfork.cli.advice import Advice

RUN, INSTRUMENT = "otelfork", "opentelemetry-instrument"
_CHOICES = {"opentelemetry_distro": "OTEL_PYTHON_DISTRO", "opentelemetry_configurator": "OTEL_PYTHON_CONFIGURATOR"}


def without_code(command: Sequence[str]) -> str:
    """Return which of the two commands starts the server, or ""; the outer one where both do."""
    names = [Path(word).name for word in command[:3]]
    return next((name for name in names if name in {RUN, INSTRUMENT}), "")


def advise_start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    installed: Mapping[str, Sequence[str]] | None = None,
) -> list[Advice]:
    """Return what is to change about such a start; nothing for another one.

    Args:
        command: the command line.
        environment: the process's own by default.
        installed: names of entry points by group, in the order in which OpenTelemetry's loader finds them.
    """
    way = without_code(command)
    variables = os.environ if environment is None else environment
    found = _installed() if installed is None else installed
    return list(_of(way, variables, found)) if way else []


def _installed() -> dict[str, list[str]]:
    groups = [*_CHOICES, "opentelemetry_post_instrument"]
    return {group: [entry.name for entry in metadata.entry_points(group=group)] for group in groups}


def _of(way: str, environment: Mapping[str, str], installed: Mapping[str, Sequence[str]]) -> Iterator[Advice]:
    if distro.NAME not in installed["opentelemetry_post_instrument"]:
        text = "otelfork's entry points are not installed: opentelemetry-instrument would not find it"
        yield Advice(way, text, "pip install --force-reinstall --no-deps otelfork")
    for group, variable in _CHOICES.items():
        names = installed[group]
        chosen = environment.get(variable) or (distro.NAME if way == RUN else names[0] if names else "")
        if chosen != distro.NAME:
            text = f"{chosen or 'none'} is taken: its providers do not follow forks as ours do"
            yield Advice(variable, text, f"{variable}={distro.NAME}")
        elif names and names[0] != distro.NAME:
            yield Advice(variable, f"{distro.NAME} is taken, of {', '.join(names)}")
