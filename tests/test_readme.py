"""The README and the pages beside it say what is true: their snippets run as written, their commands too."""

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
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
EVERYTHING = "\n".join(PAGES.values())
BLOCKS = [
    (f"{page}:{number}", language, text)
    for page, content in PAGES.items()
    for number, (language, text) in enumerate(re.findall(r"^```(\w+)\n(.*?)^```", content, re.MULTILINE | re.DOTALL))
]
SNIPPETS = {name: text for name, language, text in BLOCKS if language == "python"}
COMMANDS = [
    line.removeprefix("$ ")
    for _, language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
    if line.startswith("$ ")
]
LANGUAGES = {"python", "console", "mermaid"}
"""What a block may be: Python and commands are run, a picture is not."""
# What a reader has before the first snippet: an application by the name of `app`.
BEFORE = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
"""
DJANGO = "SECRET_KEY = 'x'\nROOT_URLCONF = __name__\nurlpatterns = []\nALLOWED_HOSTS = ['*']\n"
INTERNAL = {"OTELFORK_REFUSED"}
"""Variables that our processes leave for each other; nobody sets them."""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a reader who has a Django project `site_settings` and installed the package."""
    (folder / "site_settings.py").write_text(DJANGO)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    return {**os.environ, **quiet, "DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": _path(folder), "PATH": path}


def _path(folder: Path) -> str:
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=SNIPPETS)
def test_snippet_runs_as_written(snippet: str, tmp_path: Path) -> None:
    """Each Python block runs by itself, with an application `app` at hand."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + snippet],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (0, "") == (done.returncode, done.stderr if done.returncode else "")


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    """A language that no test knows would be text that nobody runs. (The report of conformance has none.)"""
    assert {} == {name: language for name, language, _ in BLOCKS if language not in LANGUAGES}


def test_testing_snippet_prints_the_span(tmp_path: Path) -> None:
    """The snippet about tests captures the request's span."""
    (snippet,) = (text for text in SNIPPETS.values() if "capture()" in text)
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "GET\n" == done.stdout


def test_the_first_sixty_seconds_are_as_written(tmp_path: Path) -> None:
    """The README's `app.py` under its `otelfork verify` line: every request is accounted for, in the words of the README."""
    flask = next(text for name, text in SNIPPETS.items() if name.startswith("README.md") and '@app.get("/")' in text)
    (tmp_path / "app.py").write_text(flask)
    command = next(text for text in COMMANDS if text.startswith("otelfork verify"))
    done = subprocess.run(
        shlex.split(command.replace("8000", str(free_port()))),
        cwd=tmp_path,
        env={key: value for key, value in environment(tmp_path).items() if not key.startswith("OTEL_")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    last = done.stdout.splitlines()[-1]
    assert (0, "sent 200 received 200 lost 0 duplicated 0", True) == (done.returncode, last, f"`{last}`" in README)


@pytest.mark.parametrize("words", [text.split()[1:] for text in COMMANDS if text.startswith("otelfork ")], ids=" ".join)
def test_a_command_has_the_options_it_is_shown_with(words: list[str]) -> None:
    """What stands before the server's own command line is in that command's help."""
    ours = words[: words.index("--")] if "--" in words else [words[0]]
    shown = subprocess.run(
        [sys.executable, "-m", "otelfork", ours[0], "--help"], capture_output=True, text=True, timeout=60
    )
    missing = [word for word in ours if word.startswith("--") and word not in shown.stdout]
    assert (0, []) == (shown.returncode, missing)


@pytest.mark.parametrize("target", [text.split()[1] for text in COMMANDS if text.startswith("make ")])
def test_make_target_exists(target: str) -> None:
    """The two commands are targets of the Makefile. (They are run by CI and by whoever clones.)"""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link names a file that exists, and a heading in it."""
    folder = (ROOT / page).parent
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", PAGES[page]):
        file, _, heading = link.partition("#")
        target = (folder / file) if file else ROOT / page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert [] == broken


def headings(page: Path) -> set[str]:
    """Return the anchors that a page's headings get: lower case, words with hyphens."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


def test_every_page_is_reached_from_the_readme() -> None:
    """A page that the README does not name is read by nobody."""
    assert [] == [page for page in PAGES if page.startswith("docs/") and f"({page})" not in README]


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


VARIABLE = re.compile(r"\b((?:OTEL|OTELFORK|PYROSCOPE)_[A-Z0-9_]+)")


def read_by_us() -> set[str]:
    """Return the variables that the settings read, by the names that stand there in full."""
    folder = ROOT / "src/otelfork/settings"
    found = {name for path in folder.glob("*.py") for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    return {name for name in found if not name.endswith("_")} - INTERNAL


def documented() -> tuple[set[str], list[str]]:
    """Return the variables that the pages name, and the families (`OTEL_BSP_*`); `_USER` after a name is its sibling."""
    names = set(VARIABLE.findall(EVERYTHING))
    for cell in re.findall(r"^\| (`(?:OTEL|OTELFORK|PYROSCOPE)[^|]*?) \|", EVERYTHING, re.MULTILINE):
        full = VARIABLE.findall(cell)
        stems = {name[: end.start()] for name in full for end in re.finditer("_", name)}
        names |= {stem + ending for stem in stems for ending in re.findall(r"`(_[A-Z_]+)`", cell)}
    return names, re.findall(r"`((?:OTEL|OTELFORK|PYROSCOPE)_[A-Z_]*_)\*", EVERYTHING)


def test_every_variable_that_is_read_is_on_a_page() -> None:
    """A setting that nobody can read about does not exist."""
    names, families = documented()
    missing = {name for name in read_by_us() - names if not name.startswith(tuple(families))}
    prefixes = {name for name in missing if any(each.startswith(f"{name}_") for each in (*names, *families))}
    assert [] == sorted(missing - prefixes)


def test_every_variable_of_ours_on_a_page_is_read() -> None:
    """`OTELFORK_*` on a page is somewhere in the code: nothing is promised that is gone."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    ours = {name for name in VARIABLE.findall(EVERYTHING) if name.startswith("OTELFORK_") and not name.endswith("_")}
    assert [] == sorted(name for name in ours if name not in source)
