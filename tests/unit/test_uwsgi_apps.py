"""What uWSGI takes out of modules and files is traced, by whatever option it was named."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from otelfork import OtelMiddleware
from otelfork.servers import registry, uwsgiapps
from otelfork.testing import capture

NAME = "otelfork_project"
SOURCE = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
application = other = app
def make(): return app
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Stand in for uWSGI's module, with options to set and a project to import."""
    found = SimpleNamespace(opt={})
    (tmp_path / f"{NAME}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "uwsgi", found)
    with capture():
        registry.attach(disabled=["gunicorn", "uvicorn", "hypercorn", "granian"])
        yield found
        registry.detach()
    sys.modules.pop(NAME, None)


def wrapped(module: ModuleType) -> list[str]:
    """Return the names in the project that are traced now."""
    return [name for name, value in vars(module).items() if isinstance(value, OtelMiddleware)]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"module": f"{NAME}:app".encode()}, ["app"]),
        ({"module": NAME.encode()}, ["application"]),
        ({"wsgi": NAME.encode(), "callable": b"other"}, ["other"]),
        ({"mount": f"/shop={NAME}:app".encode()}, ["app"]),
        ({"mount": [b"/a=elsewhere:app", f"/shop={NAME}:other".encode()]}, ["other"]),
        ({"module": b"elsewhere:app"}, []),
        ({}, []),
    ],
)
def test_the_named_application_is_replaced(server: SimpleNamespace, options: dict[str, Any], names: list[str]) -> None:
    """It is the one that uWSGI's options name, and no other name of the module."""
    server.opt = options
    assert names == wrapped(importlib.import_module(NAME))


def test_of_several_mounts_the_usual_names_are_replaced(
    server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uWSGI shows Python the last mount only; a module that it asks for itself is another one's."""
    server.opt = {"mount": b"/b=elsewhere:app"}
    before = wrapped(importlib.import_module(NAME))  # asked for by this test
    del sys.modules[NAME]
    monkeypatch.setattr(uwsgiapps, "_asked_by_server", lambda: True)
    assert ([], ["app", "application"]) == (before, wrapped(importlib.import_module(NAME)))


def test_a_factory_makes_traced_applications(server: SimpleNamespace) -> None:
    """`module:make()` is called by uWSGI; what it returns is traced."""
    server.opt = {"module": f"{NAME}:make()".encode()}
    assert isinstance(importlib.import_module(NAME).make(), OtelMiddleware)


def executed(name: str) -> dict[str, Any]:
    """Execute the project as uWSGI does, by a function of Python's C interface, and return its names."""
    execute = ctypes.pythonapi.PyImport_ExecCodeModule
    execute.argtypes, execute.restype = (ctypes.c_char_p, ctypes.py_object), ctypes.py_object
    module = execute(name.encode(), compile(SOURCE, f"{NAME}.py", "exec"))
    del sys.modules[name]
    return vars(module)


@pytest.mark.parametrize(("options", "name"), [({}, "application"), ({"callable": b"app"}, "app")])
def test_a_file_is_traced_once_it_was_executed(server: SimpleNamespace, options: dict[str, Any], name: str) -> None:
    """Files do not come through the importer."""
    server.opt = options
    names = executed("uwsgi_file_project")
    assert ([name], None) == (
        [each for each, value in names.items() if isinstance(value, OtelMiddleware)],
        sys.getprofile(),
    )


def test_another_module_of_c_is_left_alone(server: SimpleNamespace) -> None:
    """Only what uWSGI names as its own files is waited for."""
    assert [] == [value for value in executed("otherwise").values() if isinstance(value, OtelMiddleware)]


def test_a_profiler_that_was_there_goes_on(server: SimpleNamespace) -> None:
    """It sees what it would have seen, and is in its place again."""
    events: list[str] = []

    def profiler(frame: Any, event: str, argument: object) -> None:
        events.append(event)

    sys.setprofile(profiler)
    try:
        executed("uwsgi_file_project")
        found = sys.getprofile()
    finally:
        sys.setprofile(None)
    assert (True, True) == (found is profiler, "return" in events)


def test_detach_puts_the_importer_and_the_module_back(server: SimpleNamespace) -> None:
    """The private name of importlib and the module's own names are those from before."""
    server.opt = {"module": f"{NAME}:app".encode()}
    module = importlib.import_module(NAME)
    registry.detach()
    fix_up = importlib._bootstrap_external._fix_up_module  # type: ignore[attr-defined]
    assert ([], "_frozen_importlib_external") == (wrapped(module), fix_up.__module__)


def test_without_the_private_name_modules_are_traced_still(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A Python without it says so once; `--module` works."""
    monkeypatch.delattr(importlib._bootstrap_external, "_fix_up_module")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt={"module": f"{NAME}:app".encode()}))
    uwsgiapps.attach()
    said = [record.message for record in caplog.records]
    uwsgiapps.detach()
    hook = uwsgiapps.wanted(NAME)
    module = ModuleType(NAME)
    exec(SOURCE, vars(module))
    with capture():
        hook(module)
    uwsgiapps.detach()
    assert (1, True) == (len(said), "--wsgi-file" in said[0])


def test_the_program_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """While `site` runs in uWSGI its module is still to come: this test runs in Python."""
    monkeypatch.delitem(sys.modules, "uwsgi", raising=False)
    assert not uwsgiapps.inside()
