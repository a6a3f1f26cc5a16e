"""The command as a person starts it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from otelfork import __version__
from otelfork.cli import main
from otelfork.cli.commands import COMMANDS


def test_the_package_is_the_command_too() -> None:
    """`python -m otelfork` works where the script is not on PATH."""
    done = subprocess.run([sys.executable, "-m", "otelfork", "--version"], capture_output=True, text=True, check=False)
    assert (0, f"python -m otelfork, version {__version__}\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_has_an_example(name: str) -> None:
    """Each command shows a command line that can be copied."""
    assert f"  otelfork {name}" in CliRunner().invoke(main, [name, "--help"]).output


def test_a_server_that_answers_nothing_has_not_started() -> None:
    """Connections that are closed one and all are no account of telemetry: exit status 2, and why."""
    server = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True: s.accept()[0].close()"
    )
    arguments = ["--url", "http://127.0.0.1:{port}/", "--requests", "4", "--", sys.executable, "-c", server, "{port}"]
    result = CliRunner().invoke(main, ["verify", *arguments])
    assert (2, True) == (result.exit_code, "none of 4 requests was answered" in result.stderr), result.output
