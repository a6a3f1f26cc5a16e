"""One scrape: all living workers are asked at once, then what stands in the files of all slots is added up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from otelfork.prometheus import families
from otelfork.prometheus.families import Families
from otelfork.prometheus.slots import Slots, answered

ASK_SECONDS = 0.05
"""How long a scrape waits for the workers. A busy one is shown as of its last snapshot, at most a second old."""


def scrape(slots: Slots) -> tuple[Families, Mapping[str, str]]:
    """Return the families of a run, and the labels of its target."""
    known = slots.known()
    deadline = time.monotonic() + ASK_SECONDS
    # The last first: the one that asks most often holds an early slot, and its own snapshot needs the interpreter that asks.
    lines = dict(slots.ask(reversed(known)))
    contents = []
    for slot in known:  # what is there is read while the others are still at work
        fresh = slot in lines and answered(lines[slot], deadline)
        content = slots.read(slot)
        if content:
            contents.append((content, fresh or slots.lives(slot, content)))
    return merged(contents)


def merged(contents: Sequence[tuple[dict[str, Any], bool]]) -> tuple[Families, Mapping[str, str]]:
    """Add up what slots have counted, each with whether its owner lives.

    Always in the order of the slots, living or not: sums of floating-point numbers in another order may differ in the last bit,
    and a total that falls by one bit is a reset to Prometheus.
    """
    parts = [(families.load(content.get("families", [])), living) for content, living in contents]
    kinds: dict[str, str] = {}
    for living in (True, False):  # where a release has changed a metric's kind, the living decide
        for part, _ in (each for each in parts if each[1] is living):
            for name, family in part.items():
                kinds.setdefault(name, family.kind)
    total: Families = {}
    for part, living in parts:
        same = {name: family for name, family in part.items() if kinds[name] == family.kind}
        families.merge(total, same, departed=not living)
    return total, _common([content.get("resource", {}) for content, living in contents if living])


def _common(resources: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return what all living workers say of themselves: one target has one description."""
    if not resources:
        return {}
    first, *others = resources
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
