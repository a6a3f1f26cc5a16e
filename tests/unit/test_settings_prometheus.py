"""The variables of Prometheus, and which setting switches what on."""

from __future__ import annotations

import sys

import pytest

from otelfork.build import plans
from otelfork.settings import Environment, Settings, SettingsError
from otelfork.settings.prometheus import PrometheusSettings


def read(**variables):
    """Read the settings of these variables."""
    return PrometheusSettings.read(Environment(variables))


def test_the_specifications_defaults():
    """localhost:9464."""
    assert PrometheusSettings("localhost", 9464, ()) == read()


def test_gauges_are_declared_by_pattern():
    """In the order in which they are written."""
    found = read(OTELFORK_PROMETHEUS_GAUGES="app.a=sum, app.*=MAX")
    assert (("app.a", "sum"), ("app.*", "max")) == found.gauges


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_PROMETHEUS_PORT": "0"},
        {"OTEL_EXPORTER_PROMETHEUS_PORT": "http"},
        {"OTELFORK_PROMETHEUS_GAUGES": "app.a"},
        {"OTELFORK_PROMETHEUS_GAUGES": "app.a=mean"},
    ],
)
def test_a_bad_value_is_told(variables):
    """The message names the variable."""
    with pytest.raises(SettingsError, match=next(iter(variables))):
        read(**variables)


def plan(exporters):
    """Return the plan of a value of OTEL_METRICS_EXPORTER."""
    return plans.make(Settings.read(Environment({"OTEL_METRICS_EXPORTER": exporters})), alone=True)


@pytest.mark.parametrize(
    ("exporters", "pushed", "port"), [("prometheus", 0, True), ("console,prometheus", 1, True), ("console", 1, False)]
)
def test_prometheus_stands_in_lists(exporters, pushed, port):
    """It exports nothing by itself, and goes along with those that do."""
    made = plan(exporters)
    assert (pushed, port, port) == (len(made.exporters["metrics"]), made.port, made.prometheus is not None)


def test_spans_cannot_be_scraped():
    """It is an exporter of metrics only."""
    with pytest.raises(SettingsError, match="OTEL_TRACES_EXPORTER"):
        plans.make(Settings.read(Environment({"OTEL_TRACES_EXPORTER": "prometheus"})), alone=True)


def test_a_missing_extra_is_named(monkeypatch):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "otelfork.prometheus.page", None)
    with pytest.raises(SettingsError, match=r"otelfork\[prometheus\]"):
        plan("prometheus")
