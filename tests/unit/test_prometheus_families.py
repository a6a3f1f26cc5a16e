"""What several processes have counted, as one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from otelfork.prometheus.families import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    Family,
    continued,
    dump,
    key_of,
    labels_in,
    load,
    merge,
)

KEY = key_of({"a": "1"})


def family(value, kind=COUNTER, mode="sum"):
    """Return a family of one series."""
    return {"m": Family(kind, "", "", mode, {KEY: value})}


def merged(*families, departed=False):
    """Return the value of the one series when all are merged."""
    total = {}
    for each in families:
        merge(total, each, departed=departed)
    return total["m"].series[KEY] if total else None


def test_numbers_are_joined_by_mode():
    """A sum adds up, max and min choose."""
    found = [
        merged(family(3, GAUGE, mode), family(5, GAUGE, mode), family(4, GAUGE, mode)) for mode in ("sum", "max", "min")
    ]
    assert [12, 5, 3] == found


def test_what_a_departed_worker_showed_of_a_moment_is_gone():
    """A counter stays, a gauge does not."""
    assert [3, None] == [merged(family(3), departed=True), merged(family(3, GAUGE), departed=True)]


def test_histograms_add_up():
    """Sum and buckets add up where the bounds are the same."""
    found = merged(family([1.5, [1, 2], [1, 0, 2]], HISTOGRAM), family([2, [1, 2], [0, 4, 1]], HISTOGRAM))
    assert [3.5, [1, 2], [1, 4, 3]] == found


def test_histograms_of_two_releases_keep_the_common_bounds():
    """Where the bounds differ, those that both have are kept: their counts are exact."""
    found = merged(family([1, [1, 2, 5], [1, 2, 3, 4]], HISTOGRAM), family([1, [2, 3, 5], [10, 20, 30, 40]], HISTOGRAM))
    assert [2, [2, 5], [13, 53, 44]] == found


def test_of_histograms_of_the_whole_the_fuller_counts():
    """Where each process knows the whole, they are not added up."""
    one, other = [[1, [1], [1, 1]], [2, [1], [2, 1]]]
    assert other == merged(family(one, HISTOGRAM, "max"), family(other, HISTOGRAM, "max"))


def test_a_kind_that_has_changed_stays_out():
    """A name has one TYPE on the page: what does not fit is left out."""
    assert 3 == merged(family(3), family(9, GAUGE))


def test_a_successor_goes_on_counting():
    """What a process counts stands on top of its predecessors'; what these have counted is not changed by it."""
    past = family(3)
    assert ([5, 5], 3) == ([continued(past, family(2))["m"].series[KEY] for _ in range(2)], past["m"].series[KEY])


def test_a_successor_decides_what_a_metric_is():
    """A release that made a gauge of a counter forgets the count."""
    assert 2 == continued(family(3), family(2, GAUGE))["m"].series[KEY]


def test_the_latest_exemplar_of_a_bucket_is_kept():
    """Of two exemplars in one bucket the later one is shown."""
    total = {}
    for seconds in (2.0, 3.0, 1.0):
        made = family([1, [1.0], [1, 0]], HISTOGRAM)
        made["m"].exemplars[KEY] = [[0.5, seconds, {}]]
        merge(total, made)
    assert [[0.5, 3.0, {}]] == total["m"].exemplars[KEY]


def test_a_file_holds_all_of_it():
    """Families survive JSON."""
    before = family([1.5, [1], [1, 2]], HISTOGRAM)
    before["m"].exemplars[KEY] = [[0.5, 1.0, {"trace_id": "a"}]]
    assert before == load(json.loads(json.dumps(dump(before))))


def test_labels_survive_the_key():
    """Whatever stands in a label comes back."""
    labels = {"b": 'quote " and \\ and\nline', "a": "ü"}
    assert labels == labels_in(key_of(labels))


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), min_size=1, max_size=6), st.integers(0, 5))
def test_a_total_never_falls(counted, recycled):
    """Whoever of the workers is recycled after whichever amount: the sum in the order of the slots never falls by a bit."""
    past = [family(0.0) for _ in counted]
    own = [0.0 for _ in counted]
    shown = [0.0]

    def show():
        total = {}
        for base, value in zip(past, own, strict=True):
            merge(total, continued(base, family(value)))
        shown.append(total["m"].series[KEY])

    for step in range(max(map(len, counted))):
        for slot, amounts in enumerate(counted):
            if step < len(amounts):
                own[slot] += amounts[step]
                show()
        slot = recycled % len(counted)
        past[slot], own[slot] = continued(past[slot], family(own[slot])), 0.0
        show()
    assert sorted(shown) == shown
