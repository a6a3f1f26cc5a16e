"""`python -m otelfork`: the command `otelfork`, where its script is not on PATH or of another Python."""

from otelfork.cli import main

main(prog_name="python -m otelfork")
