"""uWSGI's applications: loaded by C, which asks Python's importer or executes a file, and then takes a name out of the module.

`--module` and `--mount` go through the importer: the name in the imported module is replaced before C takes it. Files
(`--wsgi-file`, `--mount x=y.py`) and `--eval` do not: C executes them with `PyImport_ExecCodeModule`, which calls
`importlib._bootstrap_external._fix_up_module` with the module's names before it executes. That private name is wrapped; from there
until the module returns a profile function waits for that return (`sys.setprofile`; public, and nothing else is called in between
that Python code could see). Without the private name files run untraced, which is said. It must not know how workers live.

Sources: uWSGI 2.0, plugins/python/pyloader.c; CPython, Python/import.c.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from otelfork.servers import applications
from otelfork.servers.imports import Hook

DEFAULT = "application"
_GUESSES = (DEFAULT, "app")
"""Of several mounts uWSGI shows Python the last one only; the name in the others is one of these."""
_FILE, _EVAL = "uwsgi_file_", "uwsgi_eval_config"
_MODULE_OPTIONS = ("module", "wsgi", "mount", "ini-mount")
_logger = logging.getLogger("otelfork")


class _State:
    """What was replaced in this interpreter."""

    def __init__(self) -> None:
        self.replaced: list[tuple[dict[str, Any], str, Any, Any]] = []
        self.fix_up: tuple[Any, Any] | None = None


_state = _State()


def inside() -> bool:
    """Tell whether this interpreter is embedded in uWSGI. While `site` runs its module `uwsgi` is still to come."""
    if "uwsgi" in sys.modules:
        return True
    try:
        program = Path("/proc/self/exe").readlink()
    except OSError:
        program = Path(sys.executable or "")
    return program.name.startswith("uwsgi")


def attach() -> None:
    """Trace the applications that uWSGI loads from files; those from modules are found by `wanted`. Idempotent."""
    if _state.fix_up is not None or not inside():
        return
    external: Any = getattr(importlib, "_bootstrap_external", None)
    original = getattr(external, "_fix_up_module", None)
    if original is None:
        _logger.warning("this Python does not show when uWSGI loads a file: --wsgi-file runs on untraced; use --module")
        return

    def fix_up(names: dict[str, Any], name: str, *arguments: Any) -> object:
        result = original(names, name, *arguments)
        if name.startswith(_FILE) or name == _EVAL:
            _when_executed(names)
        return result

    external._fix_up_module = fix_up  # noqa: SLF001 - see above
    _state.fix_up = (original, fix_up)


def detach() -> None:
    """Put back what was replaced. uWSGI keeps the applications that it has taken."""
    external: Any = getattr(importlib, "_bootstrap_external", None)
    if _state.fix_up is not None and external._fix_up_module is _state.fix_up[1]:  # noqa: SLF001 - see above
        external._fix_up_module = _state.fix_up[0]  # noqa: SLF001 - see above
    _state.fix_up = None
    while _state.replaced:
        names, name, original, ours = _state.replaced.pop()
        if names.get(name) is ours:
            names[name] = original


def wanted(module: str) -> Hook | None:
    """Return what replaces the application in a module that uWSGI is about to import, None for other modules."""
    options: Mapping[str, Any] | None = getattr(sys.modules.get("uwsgi"), "opt", None)
    if options is None:
        return None
    declared = tuple(_declared(options))
    names = [name for its_module, name in declared if its_module == module and name]
    if not names and any(its_module == module for its_module, _ in declared):
        names = [_text(options.get("callable")) or DEFAULT]
    if not names and "mount" in options and _asked_by_server():
        # Which of them uWSGI takes cannot be told; one inside the other counts once.
        names = [_text(options.get("callable")), *_GUESSES]
    return functools.partial(_replace_all, names) if names else None


def _declared(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield module and name of each application that the options show, the name "" where they show none."""
    for option in _MODULE_OPTIONS:
        values = options.get(option, ())
        for value in values if isinstance(values, list | tuple) else (values,):
            module, _, name = _text(value).rpartition("=")[2].partition(":")
            yield module, name


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _asked_by_server() -> bool:
    """Tell whether the import that runs was asked for by C: only the importer and we are on the stack."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - documented in `sys`
    while frame is not None:
        ours = str(frame.f_globals.get("__name__", "")).startswith("otelfork.servers.")
        if not ours and not frame.f_code.co_filename.startswith("<frozen importlib"):
            return False
        frame = frame.f_back
    return True


def _replace_all(names: list[str], module: ModuleType) -> None:
    for name in dict.fromkeys(names):
        _replace(vars(module), name)


def _replace(names: dict[str, Any], name: str) -> None:
    """Put a traced application, or a factory of one (`name()`), in the place of a name, if there is such a name."""
    factory, name = name.endswith("()"), name.removesuffix("()")
    original = names.get(name)
    if original is None:
        return
    ours = _traced_factory(original) if factory else applications.wrap(original, interface="wsgi")
    names[name] = ours
    _state.replaced.append((names, name, original, ours))


def _traced_factory(original: Any) -> Any:
    @functools.wraps(original)
    def make(*arguments: Any, **named: Any) -> Any:
        return applications.wrap(original(*arguments, **named), interface="wsgi")

    return make


def _when_executed(names: dict[str, Any]) -> None:
    """Replace the application once the module whose names these are has been executed on this thread."""
    previous = sys.getprofile()

    def profile(frame: FrameType, event: Any, argument: object) -> None:
        if previous is not None:
            previous(frame, event, argument)
        if event == "return" and frame.f_globals is names and frame.f_code.co_name == "<module>":
            sys.setprofile(previous)
            try:
                options = getattr(sys.modules.get("uwsgi"), "opt", {})
                _replace(names, _text(options.get("callable")) or DEFAULT)
            except Exception:
                _logger.exception("uWSGI's application could not be wrapped; it runs on untraced")

    sys.setprofile(profile)
