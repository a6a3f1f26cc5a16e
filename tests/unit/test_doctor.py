"""`otelfork doctor`: what arrives from a forked child, and what a server's options mean for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from otelfork.cli import main
from otelfork.cli.advice import advise
from otelfork.cli.doctor import examine
from otelfork.cli.options import of_command, of_file
from otelfork.cli.starts import advise_start
from otelfork.receiver import ALWAYS, PROTOCOLS, Receiver

GOOD_INI = "[uwsgi]\nmaster = true\nenable-threads = true\ndie-on-term = true\n"

pytestmark = pytest.mark.timeout(90)


def doctor(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["doctor", *arguments])


def point_at(monkeypatch: pytest.MonkeyPatch, receiver: Receiver, protocol: str = "http/protobuf") -> None:
    """Let the environment name this receiver."""
    for name, value in receiver.environment(protocol).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_healthy_pipeline_is_told_and_was_true(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 0, and the receiver has a span, a point and a log record of two processes."""
    with Receiver() as receiver:
        point_at(monkeypatch, receiver, protocol)
        result = doctor()
        received = [{each.resource["process.pid"] for each in kind} for kind in (receiver.spans, receiver.logs)]
        points = {each.resource["process.pid"] for each in receiver.points if each.name == "otelfork.doctor.runs"}
    assert (0, "all is well", [2, 2], 2) == (
        result.exit_code,
        result.output.splitlines()[-1],
        [len(pids) for pids in received],
        len(points),
    ), result.output


def test_a_collector_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 1, by signal and process."""
    with Receiver(refuse=ALWAYS, status=400, signals=["metrics"]) as receiver:
        point_at(monkeypatch, receiver)
        found = examine()
    outcomes = {
        (process, signal): {each["outcome"] for each in found.outcomes(process, signal)}
        for process in ("parent", "forked child")
        for signal in ("traces", "metrics")
    }
    assert {
        ("parent", "traces"): {"SUCCESS"},
        ("parent", "metrics"): {"FAILURE"},
        ("forked child", "traces"): {"SUCCESS"},
        ("forked child", "metrics"): {"FAILURE"},
    } == outcomes


def test_something_to_change_is_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: nothing arrived, and the reason is printed."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTELFORK_EXIT_TIMEOUT", "1")
    result = doctor()
    assert (1, "something is to change") == (result.exit_code, result.output.splitlines()[-1]), result.output


def test_a_wrong_setting_is_exit_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nosuch")
    result = doctor()
    assert (2, True) == (result.exit_code, "OTEL_TRACES_EXPORTER" in result.stderr)


@pytest.mark.parametrize(
    ("ini", "changes"),
    [
        (GOOD_INI, []),
        ("[uwsgi]\nmodule = app:app\n", ["master", "enable-threads", "die-on-term"]),
        (GOOD_INI.replace("enable-threads = true", "threads = 4"), []),
        (GOOD_INI + "skip-atexit = true\n", ["skip-atexit"]),
        (GOOD_INI + "worker-reload-mercy = 2\n", ["worker-reload-mercy"]),
        ("[other]\nmaster = false\n" + GOOD_INI, []),
    ],
)
def test_uwsgi_options_by_the_exit_table(ini: str, changes: list[str], tmp_path: Path) -> None:
    """What makes workers lose telemetry is to change; the rest is a note."""
    (tmp_path / "uwsgi.ini").write_text(ini)
    advice = advise(of_file(tmp_path / "uwsgi.ini"), 3.0)
    assert changes == [each.option for each in advice if each.change]


@pytest.mark.parametrize(
    ("python", "changes"),
    [
        ("bind = '127.0.0.1:8000'\nworkers = 4\n", []),
        ("graceful_timeout = 2\n", ["graceful_timeout"]),
        ("timeout = 0\n", ["timeout"]),
        ("max_requests = 1000\n", ["max_requests_jitter"]),
        ("max_requests = 1000\nmax_requests_jitter = 50\n", []),
        ("import multiprocessing\nworkers = multiprocessing.cpu_count()\ndef post_fork(server, worker): ...\n", []),
    ],
)
def test_gunicorn_options_by_the_exit_table(python: str, changes: list[str], tmp_path: Path) -> None:
    """A gunicorn.conf.py is read and not executed."""
    (tmp_path / "gunicorn.conf.py").write_text(python)
    advice = advise(of_file(tmp_path / "gunicorn.conf.py"), 3.0)
    assert changes == [each.option for each in advice if each.change]


def test_a_command_line_wins_over_its_file(tmp_path: Path) -> None:
    """The file that it names is read, short names and `--name=value` are understood."""
    (tmp_path / "gunicorn.conf.py").write_text("timeout = 0\nworkers = 2\n")
    options = of_command(
        ["python", "-m", "gunicorn", "-c", str(tmp_path / "gunicorn.conf.py"), "--timeout=30", "app:app"]
    )
    assert options is not None
    assert {"timeout": "30", "workers": "2"} == options.values


def test_options_are_checked_without_exporting(tmp_path: Path) -> None:
    """The names of what to change are printed; the exit status says that there is something."""
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmaster = 1\nthreads = 2\n")
    result = doctor("--no-export", "--", "uwsgi", "--ini", str(tmp_path / "uwsgi.ini"))
    assert (1, True) == (result.exit_code, "die-on-term = true" in result.output), result.output


def test_another_server_is_not_known() -> None:
    """It is said that its options are not checked; that is nothing to change."""
    result = doctor("--no-export", "--", "hypercorn", "app:app")
    assert (0, True) == (result.exit_code, "hypercorn: no options are checked" in result.output)


def test_a_console_by_default_is_told() -> None:
    """Whoever has set nothing learns which variable sends telemetry anywhere, and which names the service."""
    result = doctor("--no-export")
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME")
    assert (0, [True, True]) == (result.exit_code, [name in result.output for name in names])


RECIPE = "from opentelemetry import trace\ndef post_fork(server, worker):\n    trace.set_tracer_provider(None)\n"


@pytest.mark.parametrize(
    ("start", "changes"),
    [
        ("otelfork run --service-name shop --logs gunicorn", True),
        ("opentelemetry-instrument gunicorn", True),
        ("gunicorn", False),
    ],
)
def test_a_recipe_under_zero_code_is_a_finding(
    start: str, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seats are taken before its provider comes; beside the one line it is welcome."""
    (tmp_path / "gunicorn.conf.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    options = of_command([*start.split(), "app:app"])
    assert [changes] == [any(each.option == "set_tracer_provider" for each in advise(options, 3.0))]


def test_a_postfork_project_under_zero_code_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI's recipe stands in the project's module, which is read and not run."""
    (tmp_path / "project.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    options = of_command(["otelfork", "run", "uwsgi", "--module", "project:app"])
    assert [True] == [any(each.option == "set_tracer_provider" for each in advise(options, 3.0))]


OURS = {group: ["otelfork"] for group in ("opentelemetry_distro", "opentelemetry_configurator")}
POST = {"opentelemetry_post_instrument": ["otelfork"]}
STOCK = {group: ["distro", "otelfork"] for group in OURS}


@pytest.mark.parametrize(
    ("command", "installed", "environment", "changes"),
    [
        ("opentelemetry-instrument uvicorn app:app", OURS | POST, {}, []),
        ("otelfork run uvicorn app:app", STOCK | POST, {}, []),
        ("opentelemetry-instrument uvicorn", STOCK | POST, {}, ["OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"]),
        (
            "opentelemetry-instrument uvicorn",
            STOCK | POST,
            {"OTEL_PYTHON_DISTRO": "otelfork", "OTEL_PYTHON_CONFIGURATOR": "distro"},
            ["OTEL_PYTHON_CONFIGURATOR"],
        ),
        (
            "otelfork run uvicorn",
            {**OURS, "opentelemetry_post_instrument": []},
            {},
            ["otelfork"],
        ),
        ("uvicorn app:app", STOCK, {}, []),
    ],
)
def test_what_a_start_without_code_loads_is_told(
    command: str, installed: dict[str, list[str]], environment: dict[str, str], changes: list[str]
) -> None:
    """Another distro or configurator that would be taken in the place of ours is a finding."""
    found = advise_start(command.split(), environment=environment, installed=installed)
    assert changes == [each.option for each in found if each.change]


def test_a_start_without_code_is_understood_whatever_server_it_starts() -> None:
    """uvicorn has no options to check; what starts it has."""
    result = doctor("--no-export", "--", "otelfork", "run", "uvicorn", "app:app")
    assert (0, "all is well") == (result.exit_code, result.output.splitlines()[-1]), result.output
