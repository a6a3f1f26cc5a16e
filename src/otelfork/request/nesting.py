"""The applications inside an application: what stands behind its middlewares, found by what each of them holds.

Looked at once, when a middleware is built, and only at what lies there (fields, closures, globals that a function uses):
nothing is called and no property is asked. It knows no framework.
"""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType

_MOST = 256
"""Objects that are looked at: a chain of middlewares is short, what an application holds besides is without end."""


def applications(app: object) -> Iterator[object]:
    """Yield an application and those that it holds, the nearest first.

    Args:
        app: the application that a server would call.
    """
    seen: dict[int, object] = {}
    ahead = deque([app])
    while ahead and len(seen) < _MOST:
        here = ahead.popleft()
        if id(here) in seen:
            continue
        seen[id(here)] = here
        yield here
        ahead.extend(each for each in _parts(here) if _may_answer(each))


def _parts(holder: object) -> Iterable[object]:
    """Return what an object holds, and what the containers among it hold."""
    try:
        return [part for value in _values(holder) for part in _opened(value)]
    except Exception:  # a stand-in for something that is not there yet (werkzeug's LocalProxy) holds nothing
        return ()


def _values(holder: object) -> Iterable[object]:
    if isinstance(holder, functools.partial):
        return (holder.func, *holder.args, *holder.keywords.values())
    if isinstance(holder, MethodType):
        return (holder.__self__,)
    if isinstance(holder, FunctionType):
        used = inspect.getclosurevars(holder)
        return (*used.nonlocals.values(), *used.globals.values())
    return (*getattr(holder, "__dict__", {}).values(), *_slots(holder))


def _slots(holder: object) -> Iterator[object]:
    for kind in type(holder).__mro__:
        for name, descriptor in vars(kind).items():
            if isinstance(descriptor, MemberDescriptorType) and hasattr(holder, name):
                yield getattr(holder, name)


def _opened(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)


def _may_answer(part: object) -> bool:
    return callable(part) and not isinstance(part, type | ModuleType) and not inspect.isbuiltin(part)
