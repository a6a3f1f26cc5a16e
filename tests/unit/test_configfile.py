"""OTEL_CONFIG_FILE: read once, told at once where it is wrong, built anew in each process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import otelfork
from otelfork import bootstrap
from otelfork.receiver import Receiver
from otelfork.settings import SettingsError

PROGRAM = Path(__file__).parents[1] / "programs/counting_fork.py"
FILE = """\
file_format: "1.0"
resource:
  attributes:
    - {name: service.name, value: shop}
    - {name: service.instance.id, value: pod-1}
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http: {endpoint: "ENDPOINT/v1/traces"}
meter_provider:
  readers:
    - periodic:
        interval: 200
        exporter:
          otlp_http: {endpoint: "ENDPOINT/v1/metrics"}
"""


def config(folder: Path, text: str) -> str:
    path = folder / "otel.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_each_process_builds_its_own(tmp_path: Path):
    """Spans and counts of parent and child, each under its own pid and instance id, nothing twice."""
    with Receiver() as receiver:
        path = config(tmp_path, FILE.replace("ENDPOINT", receiver.http_endpoint))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
        done = subprocess.run(
            [sys.executable, str(PROGRAM)],
            env={**inherited, "OTEL_CONFIG_FILE": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert receiver.wait_for(lambda received: any(span.name == "child" for span in received.spans), 10)
        receiver.wait_until_quiet()
        spans, points = receiver.spans, receiver.points
    assert done.returncode == 0, done.stderr
    pids = {span.name: span.resource["process.pid"] for span in spans}
    names = {(span.name, span.resource["service.name"]) for span in spans}
    assert (2, {("parent", "shop"), ("child", "shop")}) == (len(spans), names)
    totals = {(point.value, point.resource["process.pid"]) for point in points if point.name == "app.work"}
    assert {(1000.0, pids["parent"]), (10.0, pids["child"])} == totals
    assert sum(point.value == 1000 for point in points) == 1
    ids = {str(point.resource["service.instance.id"]) for point in points}
    assert (2, True) == (len(ids), all(one.startswith("pod-1") for one in ids))


@pytest.mark.parametrize("text", ["file_format: [", "tracer_provider: 3", ""])
def test_a_file_that_cannot_be_used_is_an_error(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It names the variable and the file."""
    monkeypatch.setenv("OTEL_CONFIG_FILE", config(tmp_path, text))
    with bootstrap.replaced(), pytest.raises(SettingsError, match=r"OTEL_CONFIG_FILE='.*otel.yaml'"):
        otelfork.configure()


def test_a_file_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """Not a silent default."""
    monkeypatch.setenv("OTEL_CONFIG_FILE", "/nowhere/otel.yaml")
    with bootstrap.replaced(), pytest.raises(SettingsError, match=r"OTEL_CONFIG_FILE='/nowhere/otel\.yaml'"):
        otelfork.configure()


def test_a_file_may_disable_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Spans then record nothing."""
    monkeypatch.setenv("OTEL_CONFIG_FILE", config(tmp_path, 'file_format: "1.0"\ndisabled: true\n'))
    with bootstrap.replaced():
        telemetry = otelfork.configure()
        with telemetry.tracer_provider.get_tracer("t").start_as_current_span("s") as span:
            recording = span.is_recording()
        telemetry.meter_provider.get_meter("m").create_counter("c").add(1)
    assert recording is False
