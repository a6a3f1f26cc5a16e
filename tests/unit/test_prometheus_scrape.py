"""The files of all slots, added up."""

from __future__ import annotations

from otelfork.prometheus.families import COUNTER, GAUGE, Family, dump
from otelfork.prometheus.scrape import merged

KEY = '[["a","1"]]'


def content(value, kind=COUNTER, **resource):
    """Return what stands in the file of a slot."""
    return {"resource": resource, "families": dump({"m": Family(kind, "", "", "sum", {KEY: value})})}


def value(families):
    """Return the value of the one series."""
    return families["m"].series[KEY]


def test_the_departed_count():
    """What a dead worker has counted is in the sum."""
    assert 7 == value(merged([(content(3), True), (content(4), False)])[0])


def test_the_moment_is_the_livings():
    """A gauge of a dead worker is not."""
    assert 3 == value(merged([(content(3, GAUGE), True), (content(4, GAUGE), False)])[0])


def test_the_living_decide_what_a_metric_is():
    """Where a release has changed the kind of a metric, the old kind is left out, whichever slot comes first."""
    assert 4 == value(merged([(content(3, COUNTER), False), (content(4, GAUGE), True)])[0])


def test_the_target_is_what_all_workers_have_in_common():
    """A pid says nothing of the server."""
    contents = [(content(1, pid="1", service="shop"), True), (content(1, pid="2", service="shop"), True)]
    assert {"service": "shop"} == merged(contents)[1]


def test_nothing_is_a_page_too():
    """A server whose workers have written nothing yet has an empty page."""
    assert ({}, {}) == merged([])
