"""The wheel that users get: everything of the source, and its part of OpenTelemetry's namespace beside the others' parts."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.conformance.serving import ROOT

NAMESPACE = "opentelemetry/instrumentation/gunicorn"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it into a folder of its own, as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def sources(folder: Path) -> set[str]:
    """Return the files of the packages below a folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] in {"otelfork", "opentelemetry"} and path.suffix != ".pyc"}


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_source(installed: Path):
    """Nothing is left out by a pattern, and nothing is there that is not in the source."""
    assert sources(ROOT / "src") == sources(installed)


@pytest.mark.slow
def test_the_namespace_is_shared(installed: Path):
    """No `__init__.py` of ours stands above our module: the API, the SDK and the other instrumentations are found beside it."""
    code = (
        "import opentelemetry.instrumentation.gunicorn as ours, opentelemetry.sdk\n"
        "import opentelemetry.instrumentation.instrumentor as theirs\n"
        "ours.GunicornInstrumentor().instrument()\nprint(ours.__file__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(installed / NAMESPACE / "__init__.py") == answer.stdout.strip(), answer.stderr
