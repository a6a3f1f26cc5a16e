"""How an interpreter starts under zero code: what is done, once, and what goes on if it cannot be done."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from otelfork import distro

INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
OTELFORK = str(Path(sys.executable).with_name("otelfork"))
WAYS = {
    "run": (OTELFORK, "run"),
    "instrument": (INSTRUMENT,),
    "run instrument": (OTELFORK, "run", INSTRUMENT),
    "instrument run": (INSTRUMENT, OTELFORK, "run"),
}
SPAN = """
from opentelemetry import trace
with trace.get_tracer("script").start_as_current_span("work"):
    pass
"""


def outcome(
    *command: str, script: str = "", folders: tuple[Path, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a script through a command, the folders before everything else on PYTHONPATH."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELFORK_"))}
    path = os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH", "")]))
    # A folder of its own for its run: what killed runs have left on this machine is not for its console.
    with tempfile.TemporaryDirectory() as runs:
        own = {"PYTHONPATH": path, "OTEL_METRICS_EXPORTER": "none", "OTELFORK_RUN_DIR": runs}
        return subprocess.run(
            [*command, sys.executable, "-c", script],
            env={**inherited, **own, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.mark.parametrize("way", WAYS)
def test_a_script_has_telemetry_without_a_line(way: str) -> None:
    """Its span is printed by the default exporter, once, however it was started; the start-up line is all that is said."""
    done = outcome(*WAYS[way], script=SPAN)
    said = [line.partition(":")[0] for line in done.stderr.splitlines()]
    assert (0, 1, ["otelfork telemetry"]) == (done.returncode, done.stdout.count('"name": "work"'), said)


def test_nothing_is_imported_that_the_program_does_not_import() -> None:
    """No server, and no exporter's library, which would take names out of `ssl` before gevent has patched it."""
    unwanted = {"gunicorn", "uvicorn", "granian", "hypercorn", "requests", "urllib3", "grpc"}
    script = f"import sys; print(sorted({unwanted} & set(sys.modules)))"
    done = outcome(*WAYS["run"], script=script, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="requests,system_metrics")
    assert ("[]\n", "") == (done.stdout, done.stderr)


def test_the_path_is_the_programs_own() -> None:
    """Our folder stays in the environment, for children, and is not on the program's path."""
    script = (
        f"import os, sys; print({str(distro.SITE)!r} in sys.path, {str(distro.SITE)!r} in os.environ['PYTHONPATH'])"
    )
    assert "False True\n" == outcome(*WAYS["run"], script=script).stdout


def test_a_sitecustomize_that_was_there_runs_first(tmp_path: Path) -> None:
    """Under its own name, once, before anything of ours."""
    (tmp_path / "sitecustomize.py").write_text("import sys; print('theirs', 'otelfork' in sys.modules)\n")
    script = "import sitecustomize; print(sitecustomize.__file__)"
    done = outcome(*WAYS["run"], script=script, folders=(tmp_path,))
    last = done.stdout.splitlines()[-2:]  # the command's own interpreter has printed before
    assert ["theirs False", str(tmp_path / "sitecustomize.py")] == last


def test_a_sitecustomize_that_fails_takes_nothing_with_it(tmp_path: Path) -> None:
    """Python tells of its error as ever, and there is telemetry."""
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('theirs')\n")
    done = outcome(*WAYS["run"], script=SPAN, folders=(tmp_path,))
    assert (0, 1, True) == (done.returncode, done.stdout.count('"name": "work"'), "theirs" in done.stderr)


def test_another_python_goes_its_own_way(tmp_path: Path) -> None:
    """An interpreter to which our folder came by inheritance, and which has no otelfork, starts as ever."""
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            "import runpy, sys; runpy.run_path(sys.argv[1])",
            str(distro.SITE / "sitecustomize.py"),
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("way", "variable", "value", "expected"),
    [
        *((way, "OTEL_EXPORTER_OTLP_PROTOCOL", "smoke", "one of grpc, http/protobuf") for way in WAYS),
        ("run", "OTELFORK_TRUSTED_PROXIES", "nobody", "all, none, or a list of addresses"),
        ("run", "OTEL_TRACES_EXPORTER", "pigeon", "an installed exporter"),
    ],
)
def test_a_bad_setting_is_one_line_and_the_program_goes_on(way: str, variable: str, value: str, expected: str) -> None:
    """The line names the variable, the value and what was expected; children do not repeat it."""
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPAN!r}]); print('done')"
    done = outcome(*WAYS[way], script=SPAN + child, **{variable: value})
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert (0, "done\n", 1, True) == (
        done.returncode,
        done.stdout,
        len(lines),
        all(word in lines[0] for word in (variable, value, expected)),
    ), done.stderr


def test_telemetry_that_is_disabled_does_nothing() -> None:
    """OTEL_SDK_DISABLED turns off zero code, too."""
    script = "import sys; print(any('otelfork' in type(finder).__module__ for finder in sys.meta_path))"
    assert "False\n" == outcome(*WAYS["run"], script=script, OTEL_SDK_DISABLED="true").stdout


def test_spawned_children_belong_to_the_run() -> None:
    """They start before they know whose children they are: the run is in their environment."""
    script = "import os; print(os.environ['OTELFORK_RUN'], flush=True)"
    script += f"; import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"
    lines = outcome(*WAYS["instrument"], script=script).stdout.split()
    assert (2, 1) == (len(lines), len(set(lines)))


def entry_points(folder: Path, name: str, text: str) -> None:
    """Install a package of entry points into a folder."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(text)


FAILING = "[opentelemetry_instrumentor]\nbad = their_things:Bad\ngood = their_things:Good\n"
THINGS = """
class Bad:
    def instrument(self, **_): raise ValueError("bad")
class Good:
    def instrument(self, **_): print("good is activated")
class Configurator:
    def configure(self, **_):
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        from opentelemetry.sdk.resources import Resource
        provider = TracerProvider(resource=Resource({"whose": "theirs"}))
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        trace.set_tracer_provider(provider)
"""


def test_an_instrumentation_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    """OpenTelemetry's own loader would leave out all others, and our own part too."""
    entry_points(tmp_path, "theirs", FAILING)
    (tmp_path / "their_things.py").write_text(THINGS)
    done = outcome(*WAYS["run"], script=SPAN, folders=(tmp_path,))
    assert (1, 1) == (done.stdout.count("good is activated"), done.stdout.count('"name": "work"'))


def test_a_disabled_instrumentation_is_not_loaded(tmp_path: Path) -> None:
    """OTEL_PYTHON_DISABLED_INSTRUMENTATIONS is respected."""
    entry_points(tmp_path, "theirs", FAILING)
    (tmp_path / "their_things.py").write_text(THINGS)
    done = outcome(*WAYS["run"], folders=(tmp_path,), OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="bad, good")
    assert ("", "") == (done.stdout, done.stderr)


APPLICATION = """
import asyncio, uvicorn
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
config = uvicorn.Config(app, log_config=None)
config.load()
async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
async def send(message): pass
scope = {"type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "query_string": b"", "headers": [], "scheme": "http",
    "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "root_path": ""}
asyncio.run(config.loaded_app(scope, receive, send))
"""


def test_the_stock_way_of_configuring_stays_in_its_seat(tmp_path: Path) -> None:
    """With another distro and configurator, and no variable of ours, requests are spans of the provider that it has set."""
    found = "[opentelemetry_configurator]\nstock = their_things:Configurator\n"
    found += "[opentelemetry_distro]\nstock = opentelemetry.instrumentation.distro:DefaultDistro\n"
    entry_points(tmp_path, "theirs", found)
    (tmp_path / "their_things.py").write_text(THINGS)
    done = outcome(*WAYS["instrument"], script=APPLICATION, folders=(tmp_path,))
    servers = [span for span in done.stdout.split("\n{") if '"kind": "SpanKind.SERVER"' in span]
    assert (0, [True]) == (done.returncode, ['"whose": "theirs"' in span for span in servers]), done.stderr


CALL = """
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server
import requests
class Quiet(WSGIRequestHandler):
    def log_message(self, *_): pass
def answer(environ, start_response):
    start_response("200 OK", [])
    return [b""]
server = make_server("127.0.0.1", 0, answer, handler_class=Quiet)
thread = threading.Thread(target=server.handle_request)
thread.start()
requests.get(f"http://127.0.0.1:{server.server_port}/")
thread.join()
server.server_close()
"""


@pytest.mark.parametrize(("disabled", "spans"), [("", 1), ("requests", 0), ("*", 0)])
def test_an_installed_instrumentation_is_activated(disabled: str, spans: int) -> None:
    """A call that a library makes is a span, unless its instrumentation is disabled."""
    done = outcome(*WAYS["run"], script=CALL, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled)
    assert (0, spans) == (done.returncode, done.stdout.count('"kind": "SpanKind.CLIENT"')), done.stderr


@pytest.mark.parametrize(
    ("way", "variables", "wanted"),
    [
        ("run", {}, True),
        ("instrument", {}, True),
        ("run", {"OTELFORK_SYSTEM_METRICS": "false"}, False),
        ("run", {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "system_metrics"}, False),
    ],
)
def test_system_metrics_are_ours(way: str, variables: dict[str, str], wanted: bool) -> None:
    """The installed instrumentation is not activated beside it, and what turns it off turns off ours."""
    names = ("otelfork.system.metrics", "opentelemetry.instrumentation.system_metrics")
    script = f"import sys; print(*(name in sys.modules for name in {names}))"
    script = f"from opentelemetry import trace; trace.get_tracer('t').start_span('s').end(); {script}"
    done = outcome(*WAYS[way], script=script, OTEL_TRACES_EXPORTER="none", **variables)
    assert f"{wanted} {wanted}\n" == done.stdout, done.stderr
