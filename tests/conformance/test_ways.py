"""Every way out has a class: nothing is lost on a clean one; what a killed worker was busy with is seen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.conformance.driving import told
from tests.conformance.leaving import Asked, Held, Tally, ask, ask_through, begun_in, of_program, problems, tally
from tests.conformance.rows import KILLED
from tests.conformance.serving import Server, serve
from tests.conformance.ways import ABORT_TWICE, BUSY_STOP, INTERRUPT, KILL, RELOAD, STOP, WAIT, WAYS, Way

from otelfork.receiver import HTTP, Receiver

RECOVERY_SECONDS = 10.0
ENVIRONMENT = {"OTEL_BSP_SCHEDULE_DELAY": "500", "OTELFORK_EXIT_TIMEOUT": "3"}


class Leaving:
    """One server on its way out."""

    def __init__(self, way: Way, server: Server, receiver: Receiver, begun: Path) -> None:
        self.way = way
        self.server = server
        self.receiver = receiver
        self.begun = begun
        self.held: Held | None = None
        self.victim = 0
        self.safe: set[tuple[str, str]] = set()
        """Requests that were exported before the kill: they had their interval."""
        self.told = 0.0

    def drive(self, requests: int) -> list[Asked]:
        """Make the requests, let the server or its worker leave in their middle, then end the server."""
        self.server.wait_until_ready()
        asked = self.exported(requests // 2) if self.way.exit_class == KILLED else []
        asked += ask_through(self.server.port, requests - len(asked), "/items/7", self.act)
        if self.held is not None and self.way.act != BUSY_STOP:
            asked.append(self.held.result())
            self.receiver.wait_for(recovered, RECOVERY_SECONDS)
        if self.way.idle:
            self.server.wait_until_idle()
        if self.way.act == BUSY_STOP:
            self.held = Held(self.server.port, self.way.hold, self.begun)
            self.victim = self.held.pid
        status = self.server.stop(told=self.way.act in {STOP, INTERRUPT})
        if self.told:
            self.server.stop_seconds = time.monotonic() - self.told
        if self.way.act == BUSY_STOP and self.held is not None:
            asked.append(self.held.result())
        assert (self.way.exit_status, self.server.output) == (status, self.server.output)
        return asked

    def exported(self, requests: int) -> list[Asked]:
        """Make requests whose spans are exported before anything is killed: those may not be lost."""
        asked = ask_through(self.server.port, requests, "/items/7", lambda: None)
        self.safe = {(one.trace_id, one.span_id) for one in asked}
        self.receiver.wait_for(lambda receiver: self.safe <= served(receiver), RECOVERY_SECONDS)
        return asked

    def act(self) -> None:
        """Do to the server what the way says."""
        act, master = self.way.act, psutil.Process(self.server.process.pid)
        if act == RELOAD:
            master.send_signal(signal.SIGHUP)
        elif act in {STOP, INTERRUPT}:
            self.told = time.monotonic()
            master.send_signal(signal.SIGTERM if act == STOP else signal.SIGINT)
        elif act in {KILL, ABORT_TWICE, WAIT}:
            self.held = Held(self.server.port, self.way.hold, self.begun)
            self.end_worker(self.held.pid)

    def end_worker(self, pid: int) -> None:
        """End the worker that holds the request, or see its server do that."""
        worker = psutil.Process(pid)
        assert worker.pid in {process.pid for process in self.server.descendants()}
        self.victim = pid
        if self.way.act == KILL:
            worker.send_signal(signal.SIGKILL)
        elif self.way.act == ABORT_TWICE:
            worker.send_signal(signal.SIGABRT)
            worker.send_signal(signal.SIGABRT)
        worker.wait(20)

    def excused(self, asked: Asked) -> bool:
        """Tell whether the killed worker had finished a request and not exported it: one since its last export."""
        key = asked.trace_id, asked.span_id
        pid, path = begun_in(self.begun)[key]
        return pid == self.victim and path != self.way.hold and key not in self.safe


def served(receiver: Receiver) -> set[tuple[str, str]]:
    """Return trace id and parent span id of the server spans that arrived."""
    return {(span.trace_id, span.parent_span_id) for span in receiver.spans if span.kind == "SERVER"}


def recovered(receiver: Receiver) -> bool:
    """Tell whether a survivor has sent what a killed worker was busy with."""
    return any(span.attributes.get("otelfork.recovered") for span in receiver.spans)


def run(way: Way, receiver: Receiver, requests: int, folder: Path) -> tuple[Tally, Server]:
    """Run one way out, and what comes after it."""
    begun = folder / "begun"
    environment = {**receiver.environment(HTTP), **ENVIRONMENT, "BEGUN": str(begun)}
    with serve(way.row, environment, folder, requests) as server:
        if way.driver == "program":
            status = server.wait(90)
            assert status == way.exit_status, server.output
            sent = told(server.output.splitlines())
            receiver.wait_until_quiet()
            asked = of_program(sent)
            return tally(asked, [(one.trace_id, one.span_id) for one in sent], receiver.spans, receiver.points), server
        leaving = Leaving(way, server, receiver, begun)
        asked = leaving.drive(requests)
    receiver.wait_until_quiet()

    def counted() -> Tally:
        return tally(asked, begun_in(begun), receiver.spans, receiver.points, excuse=leaving.excused)

    found = counted()
    if way.exit_class == KILLED and found.lost > found.excused:
        asked.append(next_run(way, environment, receiver, folder))
        found = counted()
    return found, server


def next_run(way: Way, environment: dict[str, str], receiver: Receiver, folder: Path) -> Asked:
    """Start the server once more: what nobody was left to send, the next run sends."""
    with serve(way.row, environment, folder, 1) as server:
        server.wait_until_ready()
        asked = ask(server.port, "/items/7")
        receiver.wait_for(recovered, RECOVERY_SECONDS)
        server.wait_until_idle()
        server.stop()
    receiver.wait_until_quiet()
    return asked


def expected(way: Way, found: Tally) -> dict[str, int]:
    """Return what the class of the way promises."""
    true = {"received": found.sent - found.excused, "lost": found.excused, "doubled": 0, "repeated": 0}
    if way.exit_class == KILLED:
        return {**true, "counted": found.recovered}
    return {**true, "recovered": 0, "histogram": found.sent, **({} if way.drops else {"failed": 0})}


def cases() -> list[object]:
    """Return every way out; the main ones are run by `make test`."""
    return [pytest.param(way, id=way.row.name, marks=[pytest.mark.slow] * way.slow) for way in WAYS]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("way", cases())
def test_each_way_out_keeps_what_its_class_promises(
    way: Way,
    receiver: Receiver,
    requests: int,
    tmp_path: Path,
    write_result: Callable[[dict[str, object]], None],
):
    """Clean: nothing lost or doubled. Killed: running requests are recovered, and only the last interval's are lost."""
    found, server = run(way, receiver, requests, tmp_path)
    about = {"row": way.server, "way": way.name, "class": way.exit_class, "note": way.note}
    write_result({**about, "stop_seconds": round(server.stop_seconds, 2), **found.as_dict()})
    wrong = problems(found, expected(way, found))
    assert wrong == "", f"{found}\n{server.output[-3000:]}"
