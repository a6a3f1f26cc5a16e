"""Does what `sitecustomize` beside it does, where `opentelemetry-instrument` has put its own in the place."""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).with_name("sitecustomize.py")


def mutate():
    """Turn off what OTELFORK_TEST_MUTATION names, unless that was done."""
    if Path(sys.modules["sitecustomize"].__file__) != HERE:
        runpy.run_path(str(HERE))
