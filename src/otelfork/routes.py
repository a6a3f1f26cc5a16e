"""The route that the framework chose for a request, read from what it leaves in the environ or scope.

Frameworks are recognised by what they leave behind and never imported. A request that no route matched has none: its path
would make a new name for every address that a scanner tries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_environ(environ: Mapping[str, Any]) -> str | None:
    """Return the route template of a WSGI request after the application was called, or None."""
    request = environ.get("werkzeug.request")
    if request is not None:
        rule = getattr(getattr(request, "url_rule", None), "rule", None)
        if rule is not None:
            return _under(str(environ.get("SCRIPT_NAME", "")), str(rule))
    return None


def of_scope(scope: Mapping[str, Any]) -> str | None:
    """Return the route template of an ASGI request after the application was called, or None."""
    route = scope.get("route")
    if route is not None:
        path = getattr(route, "path_format", None) or getattr(route, "path", None)
        if isinstance(path, str):
            return _under(str(scope.get("root_path", "")), path)
    return None


def _under(prefix: str, route: str) -> str:
    return prefix.rstrip("/") + (route if route.startswith("/") else "/" + route)
