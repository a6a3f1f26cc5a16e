"""The lifespan passes through untouched; its start is a first use, its end the time to flush."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.recording import Recording, call_asgi, sending_plain

from otelfork import exits, forks
from otelfork.exits import watching

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
LIFESPAN = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of forks and exits, and what reached the server, in order."""
    calls: list[str] = []
    monkeypatch.setattr(forks, "ensure", lambda: calls.append("ensure"))
    monkeypatch.setattr(exits, "flush", lambda: calls.append("flush"))
    monkeypatch.setattr(watching, "lifespanless", lambda: calls.append("watch"))
    return calls


def live(middleware: Any, seen: list[str]) -> None:
    waiting = [STARTUP, SHUTDOWN]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        seen.append(message["type"])

    asyncio.run(middleware(LIFESPAN, receive, send))


def answering_lifespan(startup: str = "complete", shutdown: str = "complete") -> Any:
    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        if given["type"] != "lifespan":
            await sending_plain(given, receive, send)
            return
        assert given is LIFESPAN
        assert await receive() is STARTUP
        await send({"type": f"lifespan.startup.{startup}"})
        if startup == "complete":
            assert await receive() is SHUTDOWN
            await send({"type": f"lifespan.shutdown.{shutdown}"})

    return app


@pytest.mark.parametrize("shutdown", ["complete", "failed"])
def test_startup_is_a_first_use_and_shutdown_flushes_first(
    recording: Recording, seen: list[str], shutdown: str
) -> None:
    """Telemetry is built at startup, and flushed before the server hears that the shutdown is over."""
    live(recording.asgi(answering_lifespan(shutdown=shutdown)), seen)
    expected = ["ensure", "lifespan.startup.complete", "flush", f"lifespan.shutdown.{shutdown}"]
    assert expected == seen


def test_a_failed_startup_passes(recording: Recording, seen: list[str]) -> None:
    """An application that cannot start says so to the server itself."""
    live(recording.asgi(answering_lifespan(startup="failed")), seen)
    expected = ["ensure", "lifespan.startup.failed"]
    assert expected == seen


def test_an_application_without_lifespan_refuses_as_before(recording: Recording, seen: list[str]) -> None:
    """What the application raises for a lifespan reaches the server, which then goes on without one."""

    async def app(given: dict[str, Any], receive: Any, send: Any) -> None:
        raise ValueError("only http")

    with pytest.raises(ValueError, match="only http"):
        live(recording.asgi(app), seen)


def test_without_a_lifespan_each_request_watches_for_the_exit(recording: Recording, seen: list[str]) -> None:
    """A process that no lifespan announced may be gone without a word: its requests watch for SIGTERM."""
    call_asgi(recording.asgi(sending_plain))
    expected = ["watch"]
    assert expected == seen


def test_with_a_lifespan_no_request_watches(recording: Recording, seen: list[str]) -> None:
    """Where the lifespan works its shutdown flushes, and no signal is touched."""
    middleware = recording.asgi(answering_lifespan())
    live(middleware, seen)
    call_asgi(middleware)
    assert "watch" not in seen


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_a_draining_process_flushes_after_each_request(
    recording: Recording, interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of every request asks whether this process is on its way out, after its span has ended."""
    from tests.unit.recording import call_wsgi, plain

    ended: list[int] = []
    monkeypatch.setattr(exits, "going", True)
    monkeypatch.setattr(exits, "finish_request", lambda: ended.append(len(recording.spans)))
    if interface == "wsgi":
        call_wsgi(recording.wsgi(plain))
    else:
        call_asgi(recording.asgi(sending_plain))
    expected = [1]
    assert expected == ended
