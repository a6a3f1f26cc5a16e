"""The route that the framework chose for a request, read from what it leaves in the environ or scope.

Frameworks are recognised by what they leave behind and never imported here; those that leave nothing are asked by
`frameworks`. A request that no route matched has none: its path would make a new name for every address a scanner tries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from otelfork.request.facts import text
from otelfork.request.hooks import once

DJANGO = "otelfork.django"
"""Key under which `frameworks` marks what Django handles, with a function that finds the route while Django handles it."""

FLEETING = "werkzeug.request"
"""Key of an environ that is there while the application runs only: Flask takes its request out before the call returns."""

_BOTTLE_MOUNT = "<:re:.*>"
_CATCH_ALL = "/{path}"
"""How Starlette's `path_format` of a mount ends."""


FindRoute: TypeAlias = "Callable[[Sequence[Mapping[str, Any]], int | None], str | None]"
_FindInOne: TypeAlias = "Callable[[Mapping[str, Any], int | None], str | None]"


def in_environs(environs: Sequence[Mapping[str, Any]], status: int | None) -> str | None:
    """Return the route template of a WSGI request after the application was called, or None. It does not raise.

    Args:
        environs: of this request, one at least, the innermost last, as the application left them.
        status: of the response.
    """
    environ = environs[-1]
    if len(environs) == 1 and not (FLEETING in environ or "bottle.route" in environ or DJANGO in environ):
        return None
    return _innermost(_of_environ, environs, status)


def in_scopes(scopes: Sequence[Mapping[str, Any]], status: int | None) -> str | None:
    """Return the route template of an ASGI request after the application was called, or None. It does not raise.

    Args:
        scopes: of this request, one at least, the innermost last, as the application left them.
        status: of the response.
    """
    scope = scopes[-1]
    if len(scopes) == 1 and not (
        "route" in scope or "path_template" in scope or "endpoint" in scope or DJANGO in scope
    ):
        return None
    return _innermost(_of_scope, scopes, status)


def _innermost(find: _FindInOne, carriers: Sequence[Mapping[str, Any]], status: int | None) -> str | None:
    try:
        for carrier in reversed(carriers):
            route = find(carrier, status)
            if route is not None:
                return text(route)
    except Exception:  # what the application left there is no reason to lose the request
        once("the route of a request could not be found", "route")
    return None


def _of_environ(environ: Mapping[str, Any], status: int | None) -> str | None:
    """Return the route that is in one environ."""
    if FLEETING in environ:  # Flask and what else keeps werkzeug's request and its rule
        rule = getattr(getattr(environ[FLEETING], "url_rule", None), "rule", None)
    elif "bottle.route" in environ:
        return _bottle(environ, status)
    elif DJANGO in environ:
        return _django(environ[DJANGO])
    else:
        return None
    return _under(str(environ.get("SCRIPT_NAME", "")), rule) if isinstance(rule, str) else None


def _of_scope(scope: Mapping[str, Any], status: int | None) -> str | None:
    """Return the route that is in one scope."""
    if "route" in scope and scope["route"] is not None:
        return _starlette(scope, scope["route"], status)
    if "path_template" in scope:
        template = scope["path_template"]
        if isinstance(template, str) and template:  # Litestar
            return _under(str(scope.get("root_path", "")), template)
    if DJANGO in scope:
        return _django(scope[DJANGO])
    return _by_endpoint(scope, status) if "endpoint" in scope else None


def _bottle(environ: Mapping[str, Any], status: int | None) -> str | None:
    """Return the rule of a Bottle route; a mounted application knows only the rest of the path."""
    rule = getattr(environ["bottle.route"], "rule", None)
    if not isinstance(rule, str) or (status == 404 and rule.endswith(_BOTTLE_MOUNT)):
        return None
    path, rest = str(environ.get("PATH_INFO", "")), str(environ.get("bottle.raw_path", ""))
    mounted = path.removesuffix(rest) if rest != path and not rule.endswith(_BOTTLE_MOUNT) else ""
    return _under(str(environ.get("SCRIPT_NAME", "")).rstrip("/") + mounted, rule)


def _django(find: Any) -> str | None:
    route: str | None = find()
    return route


def _starlette(scope: Mapping[str, Any], route: Any, status: int | None) -> str | None:
    """Return the template of a Starlette or FastAPI route, the templates of its mounts before it."""
    effective = (scope.get("fastapi") or {}).get("effective_route_context")
    if effective is not None and getattr(effective, "original_route", None) is route:
        route = effective  # FastAPI's route as `include_router` has it, prefixes included
    template = getattr(route, "path_format", None)
    if not isinstance(template, str):
        template = getattr(route, "path", None)
        if not isinstance(template, str):
            return None
    prefix = _mounts(scope)
    if _is_mount(route):
        # What is mounted found nothing (404), or has no routes of its own (static files).
        return None if status == 404 else prefix + _CATCH_ALL
    return _under(prefix, template)


def _by_endpoint(scope: Mapping[str, Any], status: int | None) -> str | None:
    """Return the route of an endpoint: FastAPI keeps no route for what is not its own, Starlette before 1.0 keeps none."""
    endpoint, router = scope.get("endpoint"), scope.get("router")
    if endpoint is None or router is None:
        return None
    path = str(scope.get("path") or "").removeprefix(str(scope.get("root_path") or "")) or "/"
    route = _route_to(endpoint, path, getattr(router, "routes", None) or ())
    return None if route is None else _starlette(scope, route, status)


def _route_to(endpoint: object, path: str, routes: Iterable[Any]) -> Any:
    """Return the route of an endpoint; where several lead to it, the one that matches the rest of the path."""
    for route in routes:
        if _is_mount(route):
            below = getattr(route, "routes", None) or ()
            found = route if route.app is endpoint else _route_to(endpoint, path, below)
            if found is not None:
                return found
        elif getattr(route, "endpoint", None) is endpoint and route.path_regex.match(path):
            return route
    return None


def _is_mount(route: Any) -> bool:
    return hasattr(route, "app") and not hasattr(route, "endpoint") and hasattr(route, "path_regex")


def _mounts(scope: Mapping[str, Any]) -> str:
    """Return the prefix that mounts put before the route, with the names of their parameters and not the values."""
    root = str(scope.get("root_path") or "")
    outside = str(scope.get("app_root_path", root) or "")
    mounted = root.removeprefix(outside)
    parameters = scope.get("path_params") or {}
    segments = mounted.split("/")
    if mounted and any(str(value) in segments or "/" in str(value) for value in parameters.values()):
        routes = getattr(scope.get("router"), "routes", None) or ()
        mounted = _mount_templates(routes, mounted) or _named(segments, parameters)
    return outside.rstrip("/") + mounted


def _named(segments: list[str], parameters: Mapping[str, Any]) -> str:
    """Return a path with names in the place of values, where the mount itself cannot be found."""
    names = {str(value): name for name, value in parameters.items()}
    return "/".join("{" + names[segment] + "}" if segment in names else segment for segment in segments)


def _mount_templates(routes: Iterable[Any], path: str) -> str | None:
    """Return the templates of the mounts whose paths make up `path`, or None."""
    for route in routes:
        pattern: re.Pattern[str] | None = getattr(route, "path_regex", None)
        if pattern is None or not _is_mount(route):
            continue
        match = pattern.match(path + "/")
        if match is None:
            continue
        rest = "/" + match.groupdict().get("path", "")
        template = str(route.path_format).removesuffix(_CATCH_ALL)
        if rest == "/":
            return template
        below = _mount_templates(getattr(route, "routes", None) or (), rest.rstrip("/"))
        if below is not None:
            return template + below
    return None


def _under(prefix: str, route: str) -> str:
    return prefix.rstrip("/") + (route if route.startswith("/") else "/" + route)
