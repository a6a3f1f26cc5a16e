"""Typed reading of environment variables: every bad value becomes one clear SettingsError.

This is the only place that touches `os.environ`; it must not know what the variables mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

_T = TypeVar("_T")


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names the variable, the value and what was expected."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"{name}={value!r} is not valid: expected {expected}")
        self.name = name
        self.value = value
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Environment:
    """Reads variables by type. An unset or blank variable counts as absent, as the OpenTelemetry specification says."""

    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def text(self, *names: str, default: str = "") -> str:
        """Return the first of `names` that is set and not blank, stripped."""
        for name in names:
            value = self.variables.get(name, "").strip()
            if value:
                return value
        return default

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """Return true for `true`/`1`/`yes`/`on`, false for their opposites."""

        def convert(value: str) -> bool:
            lowered = value.lower()
            if lowered in {"true", "1", "yes", "on"}:
                return True
            if lowered in {"false", "0", "no", "off"}:
                return False
            raise ValueError

        return self._converted(name, convert, default, "true or false")

    def integer(self, name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
        """Return a whole number within the bounds."""
        upper = "" if maximum is None else f" and at most {maximum}"

        def convert(value: str) -> int:
            number = int(value)
            if number < minimum or (maximum is not None and number > maximum):
                raise ValueError
            return number

        return self._converted(name, convert, default, f"a whole number of at least {minimum}{upper}")

    def number(self, name: str, default: float, *, minimum: float = 0.0, maximum: float = float("inf")) -> float:
        """Return a finite number within the bounds."""
        upper = "" if maximum == float("inf") else f" and at most {maximum:g}"

        def convert(value: str) -> float:
            number = float(value)
            if not minimum <= number <= maximum or number == float("inf"):
                raise ValueError
            return number

        return self._converted(name, convert, default, f"a number of at least {minimum:g}{upper}")

    def choice(self, *names: str, choices: Iterable[str], default: str) -> str:
        """Return the first of `names` that is set; it has to be one of `choices`."""
        allowed = tuple(choices)
        for name in names:
            value = self.text(name)
            if value:
                if value.lower() not in allowed:
                    raise SettingsError(name, value, "one of " + ", ".join(allowed))
                return value.lower()
        return default

    def names(self, *names: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a comma-separated list, without blanks and repetitions, in order."""
        value = self.text(*names)
        if not value:
            return default
        return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))

    def file(self, name: str) -> str:
        """Return the path of a file that can be read, or ""."""

        def convert(value: str) -> str:
            try:
                with open(value, "rb"):  # noqa: PTH123 - what is asked is whether it opens
                    return value
            except OSError:
                raise ValueError from None

        return self._converted(name, convert, "", "the path of a file that this process can read")

    def is_set(self, *names: str) -> bool:
        """Tell whether any of `names` has a value that is not blank."""
        return any(self.text(name) for name in names)

    def _converted(self, name: str, convert: Callable[[str], _T], default: _T, expected: str) -> _T:
        value = self.text(name)
        if not value:
            return default
        try:
            return convert(value)
        except ValueError:
            raise SettingsError(name, value, expected) from None
