"""The README says what is true: its snippets run as written, its commands too."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from otelfork import OtelMiddleware, semconv
from otelfork.cli.server import free_port
from otelfork.request.hooks import Hooks
from otelfork.settings import http
from otelfork.settings.http import HttpSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SNIPPETS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.removeprefix("$ ")
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
    if line.startswith("$ ")
]
# What a reader has before the first snippet: an application by the name of `app`.
BEFORE = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
"""
DJANGO = "SECRET_KEY = 'x'\nROOT_URLCONF = __name__\nurlpatterns = []\nALLOWED_HOSTS = ['*']\n"


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a reader who has a Django project `site_settings` and installed the package."""
    (folder / "site_settings.py").write_text(DJANGO)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    return {**os.environ, **quiet, "DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": str(folder), "PATH": path}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[str(number) for number in range(len(SNIPPETS))])
def test_snippet_runs_as_written(snippet: str, tmp_path: Path) -> None:
    """Each Python block of the README runs by itself, with an application `app` at hand."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + snippet],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (0, "") == (done.returncode, done.stderr if done.returncode else "")


def test_testing_snippet_prints_the_span(tmp_path: Path) -> None:
    """The snippet about tests captures the request's span."""
    (snippet,) = (text for text in SNIPPETS if "capture()" in text)
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "GET\n" == done.stdout


def test_verify_command_runs_as_written(tmp_path: Path) -> None:
    """The `otelfork verify` line of the README, on the README's Flask application, accounts for every request."""
    (flask,) = (text for text in SNIPPETS if "Flask(__name__)" in text)
    (tmp_path / "app.py").write_text(flask + '\n\n@app.get("/")\ndef index():\n    return "hello"\n')
    (command,) = (text for text in COMMANDS if text.startswith("otelfork verify"))
    done = subprocess.run(
        shlex.split(command.replace("8000", str(free_port()))),
        cwd=tmp_path,
        env={key: value for key, value in environment(tmp_path).items() if not key.startswith("OTEL_")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (0, "sent 200 received 200 lost 0 duplicated 0") == (done.returncode, done.stdout.splitlines()[-1])


@pytest.mark.parametrize("target", [text.split()[1] for text in COMMANDS if text.startswith("make ")])
def test_make_target_exists(target: str) -> None:
    """The two commands are targets of the Makefile. (They are run by CI and by whoever clones.)"""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_links_lead_somewhere() -> None:
    """Every relative link of the README names a file that exists."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [] == [link for link in links if not (ROOT / link).exists()]


def test_the_tables_name_every_option_attribute_and_metric():
    """What the middleware takes and what it records stands in the README, under the name that it has in the code."""
    arguments = {
        *inspect.signature(HttpSettings.load).parameters,
        *inspect.signature(OtelMiddleware.__init__).parameters,
    }
    names = (arguments - {"self", "app", "options", "environment"}) | set(Hooks.__dataclass_fields__)
    recorded = {
        value for key, value in vars(semconv).items() if key.isupper() and isinstance(value, str) and "." in value
    }
    variables = set(re.findall(r'"(OTEL[A-Z_]+)"', Path(http.__file__).read_text(encoding="utf-8")))
    wanted = {f"`{name}`" for name in names} | {name for name in recorded if "/" not in name} | variables
    assert [] == sorted(name for name in wanted if name not in README)
