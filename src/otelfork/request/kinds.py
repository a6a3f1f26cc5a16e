"""What many requests have in common, made once: their names, addresses, metric attributes, and what ends they come to.

A span keeps what its request alone was sent, a `Sketch`; attributes are made of it when somebody looks, and bytes when it
is exported, on the exporter's thread. Nothing here is the request's own, and no client can make it grow without bound.
"""
# ruff: noqa: SLF001 - of the lane's spans: they hold what was sent

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, final

from opentelemetry.trace import Span, Status, StatusCode

from otelfork import semconv
from otelfork.encoding.encoder import Encoder
from otelfork.encoding.fields import keep
from otelfork.request import attributes, naming
from otelfork.request.addresses import resolve
from otelfork.request.exclusion import Exclusion
from otelfork.request.facts import Forwarding, Request, Sketch, decoded, port_number, read
from otelfork.request.hooks import NO_HOOKS, Hooks
from otelfork.request.instruments import ActiveKey, Instruments, MetricKey
from otelfork.request.packing import Packing
from otelfork.request.propagation import readable
from otelfork.request.routes import FindRoute
from otelfork.request.telling import Telling
from otelfork.settings.http import HttpSettings

_End: TypeAlias = "int | tuple[int | None, str] | tuple[int | None, str | None, str | None] | None"
_ERROR = Status(StatusCode.ERROR)
LONGEST_KEY = 2048
"""Kinds with longer keys are made for one request: a header may have many thousand characters."""
_NO_FORWARDING = Forwarding()
_join = b"".join


@final
class Ending:
    """How requests of a kind ended: the same status, error and route.

    Attributes:
        name: of the span, with the route.
        plain, attributes: that are known at the end, in our names alone and as they are exported.
        status: of the span, None where it is not set.
        packed: for the encoder (see `lane.Ending`).
        note: takes the figures of a request; None where the instruments have to be used one by one.
        key: of the metrics' attributes.
        bodiless: whether there is no body on the wire, whatever the application gave (RFC 9110, section 6.4.1).
        marks: events at the start and at the end of the span, where there is a second set of names.
        measure: takes the figures under those names.
    """

    __slots__ = ("attributes", "bodiless", "key", "marks", "measure", "name", "note", "packed", "plain", "status")

    def __init__(self, kind: Kind, status: int | None, error_type: str | None, route: str | None) -> None:
        plan = kind.plan
        if error_type is None and status is not None and status >= 500:
            error_type = str(status)
        self.plain = attributes.of_end(status, error_type, route)
        self.attributes = plan.finished(self.plain)
        self.name = kind.name if route is None else f"{kind.name} {route}"
        self.status = _ERROR if status is not None and status >= 500 else None
        self.packed: Any = None
        self.bodiless = kind.bodiless or bodiless(status)
        self.key: MetricKey = (kind.method, kind.scheme, status, error_type, route, kind.version, kind.websocket)
        self.note: Any = plan.instruments.noting(self.key)
        self.marks: tuple[str, str] | None = None
        self.measure: naming.Measure | None = None
        names = plan.names
        if names is not None:
            self.name = names.name or self.name
            self.marks = names.marks
            limit = plan.settings.cardinality_limit
            self.measure = names.measure(plan.instruments.folding, kind.method, route, status, limit)


@final
class Kind:
    """Requests of one method, scheme, host and HTTP version, sent by way of the same proxies.

    Attributes:
        name: of the span, before there is a route.
        method, scheme, version: as attributes.
        sent_method: as it was sent.
        row: what stands before the path on the scoreboard.
        url: what stands before the path in the URL.
        running: of the attributes of running requests.
        endings: by status, error and route (see `ending`); shared with other hosts.
        simple: whether requests of this kind can be recorded the short way.
        framed: whether a body need not be announced (HTTP/2 and 3; RFC 9113, section 8.1.1).
        begun, ended: count requests, with each `next`; None where the instrument has to be used.
    """

    __slots__ = (
        "_addresses", "_common", "_first", "_forwarded", "_packed", "begun", "bodiless", "ended", "endings", "framed", "method",
        "name", "plan", "row", "running", "scheme", "sent_method", "simple", "url", "version", "websocket",
    )  # fmt: skip

    def __init__(self, plan: Plan, first: Request) -> None:
        """Make the kind of a request."""
        settings = plan.settings
        self.plan = plan
        # Without what a sketch has: kinds are kept, and clients may send much.
        forwarding = None if first.forwarding is None else first.forwarding._replace(for_="")
        self._first = first._replace(path="", query="", user_agent="", headers=None, forwarding=forwarding)
        self._addresses = addresses = resolve(first, settings)
        self.sent_method = first.method
        self.method = method = attributes.method_name(first.method, settings)
        self.name = semconv.UNKNOWN_METHOD_NAME if method == semconv.OTHER_METHOD else method
        self.scheme = addresses.scheme
        self.version = semconv.PROTOCOL_VERSIONS.get(first.version)
        self.framed = self.version in {"2", "3"}
        self.websocket = first.websocket
        self.bodiless = method == "HEAD"
        self.row = method.encode() + b" "
        self.url = attributes.url_start(addresses)
        self.running: ActiveKey = (method, addresses.scheme)
        if plan.instruments.old is not None:
            self.running = (method, addresses.scheme, addresses.server, addresses.server_port, self.version)
        counting = plan.instruments.counting(self.running)
        self.begun: Any = counting[0]
        self.ended: Any = counting[1]
        self.simple = plan.simple and not first.websocket and self.begun is not None
        self._packed: bytes | None = None
        self._common: dict[str, Any] | None = None
        self._forwarded = "" if first.forwarding is None else first.forwarding.forwarded
        # Not the kind's own: of many hosts there is one set of endings.
        family = (method, addresses.scheme, self.version, first.websocket)
        self.endings: dict[_End, Ending] = plan.endings.get(family) or {}
        keep(plan.endings, family, self.endings)  # bounded: a proxy may hand on any scheme that it was sent

    def ending(self, status: int | None, error_type: str | None, route: str | None) -> Ending:
        """Return how a request ended. Of one without an error it is kept under its status and, if there is one, its route."""
        key: _End = (status, error_type, route)
        if error_type is None:
            key = status if route is None else (status, route)
        found = self.endings.get(key)
        if found is None:
            found = Ending(self, status, error_type, route)
            keep(self.endings, key, found)
        return found

    def server(self) -> dict[str, Any]:
        """Return the attributes of the server that was asked for."""
        found: dict[str, Any] = attributes.of_server(self._addresses.server, self._addresses.server_port)
        return found

    def full_url(self, sketch: Sketch) -> str:
        """Return the URL that excluded-url patterns are searched in (see `attributes.full_url`)."""
        path, query = decoded(sketch[0]), decoded(sketch[1])
        return f"{self.url}{path}?{query}" if query else self.url + path

    def request(self, sketch: Sketch) -> Request:
        """Return all facts of a request."""
        first = self._first
        path, query, agent, peer, port, forwarded_for, headers = read(sketch)
        forwarding = first.forwarding
        if forwarding is not None or forwarded_for:
            forwarding = (forwarding or _NO_FORWARDING)._replace(for_=forwarded_for)
        return first._replace(
            path=path,
            query=query,
            user_agent=agent,
            peer=peer,
            peer_port=port_number(port),
            forwarding=forwarding,
            headers=headers,
        )

    def attributes(self, sketch: Sketch) -> dict[str, Any]:
        """Return the attributes that are known when a request begins."""
        names = self.plan.names
        if names is None and not self.plan.mapped:
            common = self._common
            if common is None:
                common = self._common = attributes.common(self._addresses, self.method, self._first)
            return self.plan.telling.attributes(common, sketch, self._forwarded)
        settings = self.plan.settings
        request = self.request(sketch)
        addresses = resolve(request, settings)
        if names is None or self.plan.mapped:
            return dict(attributes.of_request(request, addresses, self.method, settings))
        common = attributes.common(addresses, self.method, request)
        return {**names.named(common), **names.named(attributes.own(request, addresses, settings))}

    def pack(self, span: Any, encoder: Encoder) -> bytes:
        """Return the fields of these attributes, in the same order (see `lane.Kind`)."""
        plan, path, query, peer, port = self.plan, span._path, span._query, span._peer, span._port
        if span._headers or plan.mapped:
            return encoder.joined(self.attributes(span.sketch))
        own = plan.packing
        try:
            if path.isascii():
                head, sent = own.path_heads[len(path)], path if type(path) is bytes else path.encode()
            else:
                head, sent = b"", own.paths[path]
            return _join((
                self._packed or self._pack(encoder),
                head,
                sent,
                own.queries[query] if query else b"",
                own.clients[span._agent, peer, span._forwarded_for, self._forwarded],
                own.ports[port] if peer and port is not None else b"",
                b"" if plan.names is None else own.targets[path],
            ))  # fmt: skip
        except (TypeError, AttributeError):  # other types than servers give: with care, as for who looks
            return encoder.joined(self.attributes(span.sketch))

    def _pack(self, encoder: Encoder) -> bytes:
        common = attributes.common(self._addresses, self.method, self._first)
        names = self.plan.names
        packed = self._packed = encoder.joined(common if names is None else names.named(common))
        return packed


@final
class Plan:
    """What one middleware does for each request, decided once for a generation.

    Attributes:
        instruments: where it records.
        settings: what it records, hides and adds.
        find_route: finds the route in the environs or scopes of a request.
        kinds: the kinds that were seen, by what the edge makes a key of.
        exclusion: what is not recorded; None for nothing.
        hooks: what the user wants to be called with.
        hurry: see `instruments.Folding`.
        seal, turn: it stands as long as `seal[1]` is `turn` (see `forks.standing`).
        answers: whether anything is added to responses.
        plain_responses: whether nothing is, no header of theirs is recorded and no hook waits for them.
        simple: whether requests can be recorded the short way.
        quick: whether neither who sends a request nor its headers beyond those that all are read for matter.
        mapped: whether other names are added to the attributes.
        names: the second set of names of this process's requests.
        packing: for the encoder.
        propagator: the one that stands in the global seat, as long as ours may read in its place.
        telling: for who looks at attributes before.
    """

    __slots__ = (
        "answers", "board", "endings", "exclusion", "find_route", "hooks", "hurry", "instruments", "kinds", "lane", "mapped",
        "names", "packing", "plain_responses", "propagator", "quick", "seal", "settings", "simple", "telling", "trusts_all", "turn",
    )  # fmt: skip

    def __init__(
        self, instruments: Instruments, settings: HttpSettings, find_route: FindRoute, hooks: Hooks = NO_HOOKS
    ) -> None:
        self.instruments = instruments
        self.settings = settings
        self.find_route = find_route
        self.board: Any = instruments.board
        self.lane: Any = instruments.lane
        self.answers = settings.answers
        self.plain_responses = (
            not settings.answers and settings.response_headers is None and hooks.response_hook is None
        )
        self.simple = instruments.lane is not None and instruments.folding is not None and instruments.old is None
        self.quick = settings.trust is None and settings.request_headers is None
        self.mapped = attributes.mapped(settings)
        self.names = naming.current
        self.trusts_all = settings.trust is None
        self.exclusion = None if settings.excluded is None else Exclusion(settings.excluded)
        self.hooks = hooks
        self.hurry = _nothing if instruments.folding is None else instruments.folding.hurry
        self.seal: Any = (1, 1)
        self.turn = 1
        self.kinds: dict[Any, Kind] = {}
        self.endings: dict[Any, dict[_End, Ending]] = {}
        self.packing = Packing(settings, self.names)
        self.propagator = readable()
        self.telling = Telling(settings)

    def kind(self, key: object, request: Request) -> Kind:
        """Return the kind of a request whose key was not seen yet. A full cache begins anew: keys hold what clients send."""
        made = Kind(self, request)
        if len(repr(key)) <= LONGEST_KEY:
            keep(self.kinds, key, made)
        return made

    def finished(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return attributes of a request's end as they are exported."""
        mapped = attributes.finished(dict(found), self.settings)
        # The names before 1.21 are among ours, and say the target with its query.
        return dict(mapped) if self.names is None or self.mapped else self.names.named(mapped)


def _nothing() -> None:
    """Fold nothing: nothing is noted."""


def bodiless(status: int | None) -> bool:
    """Tell whether a status means that there is no body on the wire (RFC 9110, section 6.4.1)."""
    return status is not None and (status in {204, 304} or status < 200)


def ids_of(span: Span) -> tuple[bytes, bytes, int]:
    """Return trace id, span id and flags of any span."""
    seen = span.get_span_context()
    return seen.trace_id.to_bytes(16, "big"), seen.span_id.to_bytes(8, "big"), int(seen.trace_flags)
