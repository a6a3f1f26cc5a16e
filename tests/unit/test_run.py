"""`otelfork run`: what it starts, with which environment, and what it says where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from otelfork import distro
from otelfork.cli import main, run
from otelfork.run import runs

BIN = Path(sys.executable).parent


def test_a_command_beside_our_python_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One of the same name elsewhere belongs to another environment, where otelfork is not."""
    other = tmp_path / "gunicorn"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert [str(BIN / "gunicorn")] == run.program("gunicorn")


def test_a_command_on_the_path_is_found() -> None:
    """Whatever it is."""
    assert "sh" == Path(run.program("sh")[0]).name


def test_a_path_is_taken_as_it_is() -> None:
    """As a shell does."""
    assert ["./start.sh"] == run.program("./start.sh")


def test_a_module_without_a_command_is_run_as_a_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`otelfork run NAME` is `python -m NAME` where that is all there is."""
    (tmp_path / "otelfork_serves").mkdir()
    (tmp_path / "otelfork_serves/__main__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert [sys.executable, "-m", "otelfork_serves"] == run.program("otelfork_serves")


@pytest.mark.parametrize(("command", "status"), [("no-such-server", 127), ("./no-such-server", 127), ("/", 126)])
def test_a_missing_command_is_told(command: str, status: int) -> None:
    """With the exit status of a shell, and its name."""
    result = CliRunner().invoke(main, ["run", command])
    assert (status, True) == (result.exit_code, result.output.startswith("otelfork run:") and command in result.output)


def test_options_stand_for_variables() -> None:
    """What was chosen stands over what was inherited; the rest is inherited."""
    made = run.environment({"OTEL_SERVICE_NAME": "shop"}, {"OTEL_SERVICE_NAME": "x", "HOME": "/h", "PYTHONPATH": "/a"})
    expected = {"OTEL_SERVICE_NAME": "shop", "HOME": "/h", "PYTHONPATH": f"{distro.SITE}{os.pathsep}/a"}
    assert expected == {name: made[name] for name in expected}


def test_our_folder_is_on_the_path_once() -> None:
    """Also where a run starts a run."""
    made = run.environment({}, run.environment({}, {}))
    assert str(distro.SITE) == made["PYTHONPATH"]


def test_a_run_inside_a_run_is_a_run_of_its_own() -> None:
    """The process that becomes the server is what the run is known by."""
    assert runs.identify(os.getpid()) == run.environment({}, {"OTELFORK_RUN": "another"})["OTELFORK_RUN"]


def test_a_distro_that_the_user_chose_stays() -> None:
    """Ours is a default."""
    assert "theirs" == run.environment({}, {"OTEL_PYTHON_DISTRO": "theirs"})["OTEL_PYTHON_DISTRO"]


@pytest.mark.parametrize("option", [*run.OPTIONS, *run.FLAGS], ids=lambda option: option[0])
def test_each_option_sets_its_variable(option: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one of the table, in front of the command; what follows the command is the command's."""
    name, variable, _ = option
    value = [] if option in run.FLAGS else ["true"]
    called: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execvpe", lambda file, words, environment: called.append((words, environment)))
    monkeypatch.delenv(variable, raising=False)
    CliRunner().invoke(main, ["run", name, *value, "sh", name, "--other"])
    assert [([name, "--other"], "true")] == [(words[1:], environment.get(variable)) for words, environment in called]


def test_the_readme_lists_every_option() -> None:
    """With its variable."""
    readme = (Path(__file__).parents[2] / "docs/zero-code.md").read_text(encoding="utf-8")
    options = {f"| `{name}` | `{variable}` |" for name, variable, _ in run.OPTIONS}
    options |= {f"| `{name}` (a flag) | `{variable}` |" for name, variable, _ in run.FLAGS}
    assert set() == options - set(readme.splitlines())


def test_the_command_keeps_the_pid() -> None:
    """The process is replaced: no parent stands between a supervisor and its server."""
    with subprocess.Popen(
        [BIN / "otelfork", "run", "python", "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, text=True
    ) as started:
        printed, _ = started.communicate(timeout=60)
    assert (0, str(started.pid)) == (started.returncode, printed.strip())
