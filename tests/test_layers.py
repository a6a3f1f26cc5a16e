"""The floors of the house: imports go down, or stay within the room's own folder; a few things live in one room only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = "otelfork"
FLOORS = {
    # 7 doors
    "otelfork": 7, "__main__": 7, "cli": 7, "distro": 7, "receiver": 7, "testing": 7,
    # 6 assembly
    "middleware": 6, "servers": 6,
    # 5 root
    "bootstrap": 5,
    # 4 build: from settings to the generation of one process
    "build": 4,
    # 3 edges: servers' calls on one side, what is sent on the other
    "wsgi": 3, "asgi": 3, "exporters": 3, "prometheus": 3, "logs": 3, "system": 3, "profiles": 3,
    # 2 core
    "request": 2, "lane": 2, "proxies": 2, "encoding": 2, "delivery": 2, "resource": 2, "exits": 2, "workers": 2,
    # 1 leaves
    "semconv": 1, "settings": 1, "run": 1, "forks": 1, "seals": 1, "senders": 1, "version": 1, "interfaces": 1,
}  # fmt: skip
SDK = {
    "bootstrap", "testing", "build", "exporters", "prometheus", "logs", "system", "profiles", "proxies", "encoding", "lane",
    "resource",
}  # fmt: skip
"""Rooms that may import opentelemetry.sdk. The request path, the edges, the outbox and the leaves do without it."""
ENVIRONMENT = {"settings", "cli"}
"""`os.environ`: read in settings; the cli makes the environments of its children."""


def modules() -> dict[str, ast.Module]:
    """Return the syntax trees of the package by dotted name."""
    found = {}
    for path in sorted((SOURCE / PACKAGE).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()


def room(module: str) -> str:
    """Return the room of a module: the first name below the package."""
    return module.partition(".")[2].partition(".")[0] or PACKAGE


def imported(module: str) -> set[str]:
    """Return the dotted names that a module imports, wherever in it the statement stands."""
    found: set[str] = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(module: str) -> set[str]:
    """Return the other rooms of this package that a module imports."""
    names = {name for name in imported(module) if name.startswith(f"{PACKAGE}.")}
    return {room(name) for name in names} & set(FLOORS) - {room(module), PACKAGE}


@pytest.mark.parametrize("module", MODULES)
def test_no_import_goes_up(module):
    """A room imports from its own floor or a lower one."""
    assert room(module) in FLOORS, f"give {room(module)} a floor"
    assert [] == [each for each in sorted(rooms(module)) if FLOORS[each] > FLOORS[room(module)]]


def test_no_room_imports_what_imports_it():
    """On a floor, too, imports have a direction: there is no circle of rooms."""
    below = {each: set().union(*(rooms(m) for m in MODULES if room(m) == each)) for each in FLOORS}
    circles = []
    for start, direct in below.items():
        reached, ahead = set(), set(direct)
        while ahead:
            here = ahead.pop()
            reached.add(here)
            ahead |= below[here] - reached
        if start in reached:
            circles.append(start)
    assert [] == circles


def test_the_sdk_is_imported_in_its_rooms_only():
    """The request path knows the API alone."""
    users = {
        room(module) for module in MODULES if any(name.startswith("opentelemetry.sdk") for name in imported(module))
    }
    assert set() == users - SDK


def names_used(module: str) -> set[str]:
    """Return the attribute and variable names that a module uses."""
    nodes = list(ast.walk(MODULES[module]))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        node.id for node in nodes if isinstance(node, ast.Name)
    }


def test_forks_is_the_only_one_to_register_an_at_fork_hook():
    """One registration, one order."""
    assert {"forks"} == {room(module) for module in MODULES if "register_at_fork" in names_used(module)}


def test_the_environment_is_read_in_settings_only():
    """Everybody else is told."""
    readers = {room(module) for module in MODULES if {"environ", "getenv", "putenv"} & os_names(module)}
    assert set() == readers - ENVIRONMENT


def os_names(module: str) -> set[str]:
    """Return the names of the module os that a module uses."""
    return {
        node.attr
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    } | {name.removeprefix("os.") for name in imported(module) if name.startswith("os.")}


def test_every_floor_belongs_to_a_room():
    """The table names nothing that is gone."""
    assert set() == set(FLOORS) - {room(module) for module in MODULES}
