"""The meter provider, meters and instruments that follow the process."""

from __future__ import annotations

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.fresh import counted, run

from otelfork import bootstrap, forks
from otelfork.proxies import ProxyMeterProvider
from otelfork.testing import capture

provider = bootstrap._bootstrap.meter_provider


def test_the_provider_is_one_of_the_sdk():
    """Applications ask with isinstance."""
    assert isinstance(provider, sdk.MeterProvider)


def test_every_public_name_of_the_sdks_provider_is_answered_by_ours():
    """A later SDK with another public method must not find half an object."""
    ours = {name for name in vars(ProxyMeterProvider) if not name.startswith("_")}
    assert set() == {name for name in vars(sdk.MeterProvider) if not name.startswith("_")} - ours


def test_all_eight_kinds_taken_before_the_fork_work_in_the_child():
    """Synchronous ones record, observable ones are registered anew: the child's callbacks run in the child."""
    lines = run("""
        configure()
        meter = metrics.get_meter("m")
        counter, up_down = meter.create_counter("counter"), meter.create_up_down_counter("up_down")
        histogram, gauge = meter.create_histogram("histogram"), meter.create_gauge("gauge")
        seen = lambda options: [metrics.Observation(1 if os.getpid() == MAIN else 2)]
        meter.create_observable_counter("o_counter", [seen])
        meter.create_observable_up_down_counter("o_up_down", [seen])
        meter.create_observable_gauge("o_gauge", [seen])
        def record(value):
            counter.add(value), up_down.add(value), gauge.set(value)
            for _ in range(value): histogram.record(1)
        record(1)
        otelfork.flush(5)
        reaped([forked(lambda: record(2))])
        os._exit(0)
    """)
    names = ("counter", "up_down", "histogram", "gauge", "o_counter", "o_up_down", "o_gauge")
    expected = {f"point {name} {value}": 1 for name in names for value in ("1 parent", "2 child")}
    assert expected == counted(lines)


def test_a_childs_series_start_when_the_child_does():
    """A new start time: a backend takes the smaller count for a new series and not for a reset."""
    lines = run("""
        class Starts(Points):
            def export(self, data, *args, **kwargs):
                for metric in data.resource_metrics[0].scope_metrics[0].metrics:
                    for point in metric.data.data_points: out(who(), point.start_time_unix_nano)
        configure(exporters={"metrics": [Starts]})
        counter = metrics.get_meter("m").create_counter("c")
        counter.add(1)
        otelfork.flush(5)
        forked_at = time.time_ns()
        reaped([forked(lambda: counter.add(1))])
        out("fork", forked_at)
        os._exit(0)
    """)
    times = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert times["parent"] < times["fork"] < times["child"]


def test_the_same_instrument_asked_for_twice_is_one(captured):
    """Names are compared without case, as in the SDK; another unit is another instrument."""
    meter = provider.get_meter("m")
    first = meter.create_counter("requests")
    assert (True, False) == (meter.create_counter("Requests") is first, meter.create_counter("requests", "s") is first)


@pytest.mark.parametrize(("name", "unit"), [("1st", ""), ("", ""), ("a b", ""), ("a" * 256, ""), ("a", "é")])
def test_a_bad_name_or_unit_is_refused_where_it_is_given(name, unit):
    """As the SDK does, and not in the first request that uses the instrument."""
    with pytest.raises(ValueError, match="instrument"):
        provider.get_meter("m").create_counter(name, unit)


def test_callbacks_that_are_no_list_are_refused_where_they_are_given():
    """A function in place of a list of functions is a common slip; the exporter thread is too late to tell."""
    with pytest.raises(TypeError):
        provider.get_meter("m").create_observable_gauge("g", lambda options: [])


def test_callbacks_given_as_an_iterator_serve_every_generation():
    """What can be read only once is read once."""
    values = []
    for _ in range(2):
        with capture() as telemetry:
            if not values:
                provider.get_meter("iterated").create_observable_gauge("g", iter([lambda _: [Observation(3)]]))
            bootstrap.bind_observables()
            values.append([point.value for point in telemetry.points("g")])
    assert [[3], [3]] == values


def test_one_instrument_that_cannot_be_created_does_not_stop_the_others(captured, caplog, monkeypatch):
    """It is said once, and left out of this and all later collections."""
    meters = ProxyMeterProvider(lambda _: None)
    with monkeypatch.context() as unbuilt:
        unbuilt.setattr(forks, "current", lambda: None)  # taken at import, before the first use
        meters.get_meter("m").create_observable_gauge("poisoned", [None])
        meters.get_meter("m").create_observable_gauge("good", [lambda _: [Observation(3)]])
    sdk_meter = type(forks.current().meter_provider.get_meter("m"))
    create = sdk_meter.create_observable_gauge

    def refuse(self, name, *rest):
        if name == "poisoned":
            raise RuntimeError("no")
        return create(self, name, *rest)

    monkeypatch.setattr(sdk_meter, "create_observable_gauge", refuse)
    meters.bind_observables()
    meters.bind_observables()
    assert ([3], 1) == ([point.value for point in captured.points("good")], caplog.text.count("it is left out"))


def test_a_reader_can_be_added_and_removed(captured):
    """It collects what this process counts from then on."""
    reader = InMemoryMetricReader()
    provider.add_metric_reader(reader)
    provider.get_meter("m").create_counter("c").add(2)
    data = reader.get_metrics_data()
    provider.remove_metric_reader(reader)
    assert 2 == data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].value


def test_without_telemetry_measurements_go_nowhere():
    """After a shutdown an instrument takes its values and keeps none."""
    counter = provider.get_meter("m").create_counter("c")
    with bootstrap.replaced():
        counter.add(1)
        assert forks.current() is None


def test_an_observable_made_after_the_first_use_is_bound_at_once(captured):
    """The user's own reader finds it without waiting for our exporter thread."""
    provider.get_meter("m").create_observable_counter("late", [lambda _: [Observation(4)]])
    assert [4] == [point.value for point in captured.points("late")]
