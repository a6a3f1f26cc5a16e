"""Typed reading: every bad value is one clear error, every blank one is absent."""

from __future__ import annotations

import pytest

from otelfork.settings import Environment, SettingsError


def environment(value):
    """Return an environment with one variable, V."""
    return Environment({"V": value})


def test_an_error_names_variable_value_and_expectation():
    """Nobody has to guess what was wrong."""
    with pytest.raises(SettingsError) as raised:
        environment("many").integer("V", 1, minimum=1, maximum=9)
    assert ("V='many' is not valid: expected a whole number of at least 1 and at most 9", "V", "many") == (
        str(raised.value),
        raised.value.name,
        raised.value.value,
    )


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_blank_variable_is_absent(blank):
    """As the OpenTelemetry specification says of empty values."""
    env = environment(blank)
    assert (5, 2.5, True, "text", "a", ("x",), False) == (
        env.integer("V", 5),
        env.number("V", 2.5),
        env.boolean("V", default=True),
        env.text("V", default="text"),
        env.choice("V", choices=("a", "b"), default="a"),
        env.names("V", default=("x",)),
        env.is_set("V"),
    )


@pytest.mark.parametrize("value", ["true", "TRUE", "1", "yes", " on "])
def test_what_means_true(value):
    """Case and surrounding blanks do not matter."""
    assert environment(value).boolean("V")


@pytest.mark.parametrize("value", ["false", "0", "No", "off"])
def test_what_means_false(value):
    """Case does not matter."""
    assert not environment(value).boolean("V", default=True)


@pytest.mark.parametrize("value", ["maybe", "2", "truee"])
def test_what_means_neither(value):
    """It is not taken for false."""
    with pytest.raises(SettingsError, match="expected true or false"):
        environment(value).boolean("V")


@pytest.mark.parametrize("value", ["1.5", "-1", "11", "ten", "0x1"])
def test_a_whole_number_out_of_bounds_is_refused(value):
    """Both bounds are told."""
    with pytest.raises(SettingsError, match="at least 0 and at most 10"):
        environment(value).integer("V", 5, maximum=10)


@pytest.mark.parametrize("value", ["nan", "inf", "-0.1", "1.1", "one"])
def test_a_number_out_of_bounds_is_refused(value):
    """Infinity and what is no number are refused too."""
    with pytest.raises(SettingsError, match="at least 0 and at most 1"):
        environment(value).number("V", 0.5, maximum=1.0)


def test_a_number_may_be_infinite_nowhere():
    """Even without an upper bound."""
    with pytest.raises(SettingsError):
        environment("inf").number("V", 0.5)


def test_a_choice_is_without_case_and_the_first_name_wins():
    """The variable of a signal stands before that of all signals."""
    env = Environment({"OWN": "GRPC", "ALL": "http"})
    assert ("grpc", "http") == (
        env.choice("OWN", "ALL", choices=("grpc", "http"), default=""),
        env.choice("NONE", "ALL", choices=("grpc", "http"), default=""),
    )


def test_a_choice_that_does_not_exist_lists_those_that_do():
    """The error is the documentation."""
    with pytest.raises(SettingsError, match="one of a, b"):
        environment("c").choice("V", choices=("a", "b"), default="a")


def test_a_list_is_stripped_and_has_each_name_once():
    """Blanks and repetitions go, the order stays."""
    assert ("b", "a") == environment(" b, a,,b ").names("V")


def test_the_processs_environment_is_read_when_it_is_asked(monkeypatch):
    """What is set later counts."""
    env = Environment()
    monkeypatch.setenv("OTELFORK_TEST_V", "later")
    assert "later" == env.text("OTELFORK_TEST_V")
