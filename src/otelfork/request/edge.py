"""What the two edges have in common: an application, and what is done for each of its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otelfork import forks
from otelfork.lane.current import ways
from otelfork.request import frameworks
from otelfork.request.hooks import NO_HOOKS, Hooks
from otelfork.request.instruments import Instruments
from otelfork.request.kinds import Plan
from otelfork.request.routes import FindRoute
from otelfork.settings.http import HttpSettings


class Edge:
    """What a middleware needs for a request, beside the middleware: that passes unknown attributes on to the application, and a
    class that does makes all its attributes slow to read.

    Args:
        app, instruments, settings, hooks: see `Middleware`.
        find_route: finds the route in the environs or scopes of a request.
        lent: names of the hooks that are called with the request of a middleware around this one, too.

    Attributes:
        lends: whether there is such a hook.
        plan: what is done for each request, as long as it stands (see `Plan.seal`); None where nothing is recorded.
        current, attach, detach: see `lane.current.Current`, which is `ways`.
    """

    __slots__ = (
        "_find_route",
        "_settings",
        "app",
        "attach",
        "current",
        "detach",
        "hooks",
        "instruments",
        "lends",
        "plan",
        "ways",
    )

    def __init__(  # noqa: PLR0917 - made by the two middlewares alone
        self,
        app: Any,
        instruments: Callable[[], Instruments | None],
        settings: HttpSettings,
        hooks: Hooks,
        find_route: FindRoute,
        lent: tuple[str, ...],
    ) -> None:
        self.app = app
        self.instruments = instruments
        self.hooks = hooks
        self.lends = any(getattr(hooks, name) is not None for name in lent)
        self.plan: Plan | None = None
        self.current, self.attach, self.detach = self.ways = ways()
        self._settings = settings
        self._find_route = find_route
        frameworks.prepare(app)

    def planned(self) -> Plan | None:
        """Return the plan of this process's requests from now on; None where they are not recorded."""
        standing = forks.standing()  # before the instruments: what changes meanwhile is found out at the next request
        instruments = self.instruments()
        if instruments is None:
            self.plan = None
            return None
        plan = self.plan
        if plan is None or plan.instruments is not instruments or plan.seal is not standing[0]:
            plan = Plan(instruments, self._settings, self._find_route, self.hooks)
        plan.seal, plan.turn = standing
        self.plan = plan
        return plan

    def switch_off(self) -> None:
        """Let every request to come pass through untouched."""
        self.instruments = _none
        self.plan = None


class Middleware:
    """An application around another one that records each of its requests.

    Args:
        app: the application.
        instruments: asked when the process's telemetry is another one than at the request before; None means to pass requests
            through untouched.
        settings: what to record, hide and add.
        hooks: what the user wants to be called with.
    """

    _make_edge: type[Edge] = Edge
    _find_route: FindRoute
    _lent: tuple[str, ...]

    def __init__(
        self,
        app: Any,
        *,
        instruments: Callable[[], Instruments | None],
        settings: HttpSettings,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        self._edge = self._make_edge(app, instruments, settings, hooks, self._find_route, self._lent)

    @property
    def app(self) -> Any:
        """The application."""
        return self._edge.app

    @app.setter
    def app(self, app: Any) -> None:
        self._edge.app = app


def _none() -> None:
    """Return no instruments."""
