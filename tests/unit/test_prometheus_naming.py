"""Names, units and labels by the letter of the specification."""

from __future__ import annotations

import pytest

from otelfork.prometheus.naming import labels_of, metric_name, scope_labels, unit_name


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("s", "seconds"), ("By", "bytes"), ("kBy", "kilobytes"), ("%", "percent"), ("Cel", "celsius"), ("1", ""), ("", ""),
        ("{request}", ""), ("m/s", "meters_per_second"), ("{request}/s", "per_second"), ("By/min", "bytes_per_minute"),
        ("requests", "requests"), ("a b", "a_b"),
    ],
)  # fmt: skip
def test_a_unit_is_written_in_words(unit, words):
    """Abbreviations become words, annotations go, rates are "per"; "1" is no suffix."""
    assert words == unit_name(unit)


@pytest.mark.parametrize(
    ("name", "unit", "counter", "expected"),
    [
        ("http.server.request.duration", "seconds", False, "http_server_request_duration_seconds"),
        ("app.work", "", True, "app_work"),
        ("app.work_total", "", True, "app_work"),
        ("app.work_total", "", False, "app_work_total"),
        ("app.size.bytes", "bytes", False, "app_size_bytes"),
        ("app.bytes.sent", "bytes", True, "app_bytes_sent_bytes"),
        ("a..b--c", "", False, "a_b_c"),
        ("2nd.try", "", False, "_2nd_try"),
        ("a:b", "", False, "a:b"),
    ],
)
def test_a_name_ends_with_its_unit(name, unit, counter, expected):
    """Discouraged characters become one underscore, and the unit is there once."""
    assert expected == metric_name(name, unit, counter=counter)


def test_labels_that_become_one_are_joined():
    """Values whose names are the same to Prometheus are joined by ";" in the order of the names."""
    assert {"a_b": "1;2;x", "_1st": "true"} == labels_of({"a_b": "x", "a.b": 2, "a-b": 1, "1st": True})


def test_values_are_text():
    """What is no string is written as JSON."""
    assert {"a": '["x", 1]', "b": "1.5", "c": "false"} == labels_of({"a": ["x", 1], "b": 1.5, "c": False})


def test_a_scope_is_labels():
    """Name, version, schema and attributes of the scope are labels; its attributes cannot stand over its name."""
    found = scope_labels("app", "1.0", None, {"kind": "test", "name": "other"})
    assert {"otel_scope_name": "app", "otel_scope_version": "1.0", "otel_scope_kind": "test"} == found
