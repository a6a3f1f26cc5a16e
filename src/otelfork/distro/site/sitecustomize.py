"""Python runs this when it starts, because `otelfork run` has put this folder on PYTHONPATH. Not to be imported.

It hides a `sitecustomize` that was there before, so that one runs first; an interpreter without otelfork goes its own way.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

_HERE = Path(__file__).parent


def _chain() -> bool:
    """Run the next `sitecustomize` of the path under its own name; tell whether it was `opentelemetry-instrument`'s."""
    # The application finds the path that it would have without us; children inherit PYTHONPATH, which stays.
    sys.path[:] = [folder for folder in sys.path if Path(folder).absolute() != _HERE]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return False
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)
    return Path(spec.origin or "").parent.name == "auto_instrumentation"


def _start(*, loaded: bool) -> None:
    try:
        from otelfork import distro
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "otelfork":
            raise
        return  # another Python, to which PYTHONPATH came by inheritance
    if loaded:
        distro.attach()
    else:
        distro.initialize()


_loaded = False
try:
    _loaded = _chain()
finally:
    _start(loaded=_loaded)
