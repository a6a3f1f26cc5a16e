"""Every name of OTEL_TRACES_SAMPLER, and the spelling that guides print."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otelfork import bootstrap, forks
from otelfork.build import samplers
from otelfork.settings import Environment, Settings, SettingsError
from otelfork.settings.telemetry import STOCK_SAMPLERS


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("always_on", "AlwaysOnSampler"),
        ("always_off", "AlwaysOffSampler"),
        ("traceidratio", "TraceIdRatioBased{0.25}"),
        ("parentbased_always_on", "ParentBased{root:AlwaysOnSampler,"),
        ("parentbased_always_off", "ParentBased{root:AlwaysOffSampler,"),
        ("parentbased_traceidratio", "ParentBased{root:TraceIdRatioBased{0.25},"),
        ("Parentbased_Trace_Id_Ratio", "ParentBased{root:TraceIdRatioBased{0.25},"),
    ],
)
def test_each_name_gives_its_sampler(name: str, description: str, monkeypatch: pytest.MonkeyPatch):
    """In the provider that a process really uses."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    with bootstrap.replaced():
        bootstrap.configure(exporters={"traces": [], "metrics": [], "logs": []})
        generation = forks.ensure()
        provider = generation.tracer_provider  # type: ignore[union-attr]
        assert isinstance(provider, TracerProvider)
        assert provider.sampler.get_description().startswith(description)


def test_every_stock_name_is_known():
    """No name of the settings is without a sampler."""
    assert [name for name in STOCK_SAMPLERS if samplers.stock(name) is None] == []


def test_the_right_spelling_is_said_once(caplog: pytest.LogCaptureFixture):
    """However often the settings are read."""
    environment = Environment({"OTEL_TRACES_SAMPLER": "parentbased_trace_id_Ratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"})
    with caplog.at_level(logging.WARNING, "otelfork"):
        names = {Settings.read(environment).sampler for _ in range(2)}
    told = [record.getMessage() for record in caplog.records]
    assert ({"parentbased_traceidratio"}, 1) == (names, len(told))
    assert "understood as parentbased_traceidratio" in told[0]


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_trace_id_ratio"])
def test_a_ratio_that_is_none_is_an_error(name: str):
    """The SDK would keep every trace."""
    with pytest.raises(SettingsError, match="OTEL_TRACES_SAMPLER_ARG='ten percent'"):
        Settings.read(Environment({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": "ten percent"}))


def test_a_sampler_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """The message lists those that there are."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "jaeger_remote")
    with bootstrap.replaced(), pytest.raises(SettingsError, match="parentbased_traceidratio"):
        bootstrap.configure()
