"""The command group; each command is a file of its own, imported when it is asked for: `run` starts with every server."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

import click

from otelfork.cli import extra

COMMANDS: Mapping[str, str] = MappingProxyType({name: f"otelfork.cli.{name}" for name in ("doctor", "run", "verify")})


class _Commands(click.Group):
    """A group whose commands are imported late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; one whose libraries are not installed says so when it is used."""
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        except ModuleNotFoundError as error:
            name = extra.missing(error)
            if name is None:
                raise
            return _without_extra(cmd_name, name)
        return command


def _without_extra(command: str, library: str) -> click.Command:
    return click.Command(
        command,
        callback=lambda **_: extra.refuse(library),
        params=[click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        help="(needs: pip install 'otelfork[cli]')",
    )


@click.group(cls=_Commands)
@click.version_option(package_name="otelfork")
def main() -> None:
    """OpenTelemetry that stays true when the server forks, recycles, times out or is killed."""
