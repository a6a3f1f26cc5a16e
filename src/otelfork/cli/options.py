"""Reads the options of uWSGI and gunicorn from a command line and from their files, under their long names.

Nothing is executed: a `gunicorn.conf.py` is read as far as it assigns plain values. It must not know what is good or bad.
"""

from __future__ import annotations

import ast
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

GUNICORN, UWSGI = "gunicorn", "uwsgi"
_SHORT = {
    GUNICORN: {
        "-c": "config", "-w": "workers", "-k": "worker_class", "-t": "timeout", "-b": "bind", "--preload": "preload_app",
    },
    UWSGI: {
        "-M": "master", "-w": "module", "-T": "enable_threads", "-t": "harakiri", "-R": "max_requests", "-p": "processes",
        "--ini": "config", "--workers": "processes", "--reload-mercy": "worker_reload_mercy",
    },
}  # fmt: skip
_GUNICORN_FILE = Path("gunicorn.conf.py")
"""What gunicorn reads by itself, in the folder where it is started."""
_ZERO = ("otelfork", "opentelemetry-instrument")
_RECIPE = "sets_provider"
"""Not an option: whether the configuration or the project calls `set_tracer_provider` or its like."""
_FALSE = {"false", "0", "no", "off"}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one server by their long names, with `_` for `-`; a flag is "true"."""

    server: str
    values: dict[str, str] = field(default_factory=dict)
    source: str = ""
    zero: bool = False
    """Whether the server is started by `otelfork run` or `opentelemetry-instrument`."""

    def on(self, name: str) -> bool:
        """Tell whether a flag is set."""
        return name in self.values and self.values[name].strip().lower() not in _FALSE

    def number(self, name: str, default: float) -> float:
        """Return a number, or the default where it is not set or no number."""
        try:
            return float(self.values[name])
        except (KeyError, ValueError):
            return default


def of_command(command: Sequence[str]) -> Options | None:
    """Return the options of a command line and of the file that it names; None for another server.

    Raises:
        OSError: the file cannot be read.
    """
    zero = any(Path(word).name in _ZERO for word in command[:3])
    reach = len(command) if zero else 4  # the options of `otelfork run` come before the server
    named = next((n for n, word in enumerate(command[:reach]) if Path(word).name in {GUNICORN, UWSGI}), None)
    if named is None:
        return None
    server = Path(command[named]).name
    given = _words(server, [*_from_environment(server), *command[named + 1 :]])
    values: dict[str, str] = {}
    file = given.pop("config", "")
    if not file and server == GUNICORN and _GUNICORN_FILE.exists():
        file = str(_GUNICORN_FILE)
    if file:
        values = of_file(Path(file.removeprefix("file:"))).values
    return Options(server, _with_recipe(server, {**values, **given}), " ".join(command[named:]), zero=zero)


def of_file(path: Path) -> Options:
    """Return the options of a `uwsgi.ini` or a `gunicorn.conf.py`, told apart by the suffix.

    Raises:
        OSError: it cannot be read.
        ValueError: it is neither.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ini":
        return Options(UWSGI, _ini(text), str(path))
    if path.suffix == ".py":
        return Options(GUNICORN, _assignments(text), str(path))
    raise ValueError(f"{path}: expected a uwsgi.ini or a gunicorn.conf.py")


def _with_recipe(server: str, values: dict[str, str]) -> dict[str, str]:
    """Note whether a uWSGI project sets providers of its own, as far as its module is found; gunicorn's file was read."""
    if server != UWSGI:
        return values
    module = values.get("module") or values.get("wsgi") or ""
    name = module.partition(":")[0].replace(".", os.sep)
    folder = Path(values.get("chdir") or values.get("pythonpath") or ".")
    files = [Path(values.get("wsgi_file") or values.get("file") or "-"), folder / f"{name}.py"]
    found = any(file.is_file() and _sets_provider(file.read_text("utf-8")) for file in files)
    return {**values, _RECIPE: "true"} if found else values


def _sets_provider(text: str) -> bool:
    return any(f"set_{signal}_provider(" in text for signal in ("tracer", "meter", "logger"))


def _from_environment(server: str) -> list[str]:
    return shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")) if server == GUNICORN else []


def _words(server: str, words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, word in enumerate(words):
        if not word.startswith("-"):
            if word.endswith(".ini"):
                found["config"] = word
            continue
        name, equals, value = word.partition("=")
        name = _SHORT[server].get(name, name.lstrip("-")).replace("-", "_")
        following = words[number + 1] if number + 1 < len(words) else "-"
        found[name] = value if equals else "true" if following.startswith("-") else following
    return found


def _ini(text: str) -> dict[str, str]:
    """Read the section [uwsgi]. Not by configparser: uWSGI repeats keys and has its own placeholders."""
    found: dict[str, str] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == UWSGI and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            name = _SHORT[UWSGI].get(f"--{name.strip()}", name.strip()).replace("-", "_")
            found[name] = value.strip() or "true"
    return found


def _assignments(text: str) -> dict[str, str]:
    """Read the assignments of plain values at the top of a Python file; functions count as "true"."""
    found: dict[str, str] = {_RECIPE: "true"} if _sets_provider(text) else {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = "true"
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            value = str(node.value.value)
            found |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
    return found
