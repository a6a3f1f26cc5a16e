"""The command group; each command is a file of its own."""

from __future__ import annotations

import click

from otelfork.cli.doctor import command as doctor
from otelfork.cli.verify import command as verify


@click.group()
@click.version_option(package_name="otelfork")
def main() -> None:
    """OpenTelemetry that stays true when the server forks, recycles, times out or is killed."""


main.add_command(verify)
main.add_command(doctor)
