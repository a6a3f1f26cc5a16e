"""One statement, run against every row of the server table over both protocols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.driving import Sent, drive, told
from tests.conformance.rows import PROTOCOLS, ROWS, Row
from tests.conformance.serving import Server, serve
from tests.conformance.statement import account, expected

from otelfork.receiver import Receiver

PROGRAM_SECONDS = 90.0


def run(server: Server, row: Row, requests: int) -> list[Sent]:
    """Make the requests of a row and let its processes end."""
    if row.driver == "program":
        status = server.wait(PROGRAM_SECONDS)
        sent = told(server.output.splitlines())
    else:
        server.wait_until_ready()
        sent = drive(server, requests)
        if row.stop_idle:
            server.wait_until_idle()
        status = server.stop()
    assert (row.exit_status, requests) == (status, len(sent)), server.output
    return sent


def cases() -> list[object]:
    """Return every row with every protocol; the main ones, run by `make test`, are those over HTTP."""
    return [
        pytest.param(
            row,
            protocol,
            id=f"{row.name}-{protocol}",
            marks=[pytest.mark.slow] * (row.slow or protocol == "grpc"),
        )
        for row in ROWS
        for protocol in PROTOCOLS
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("row", "protocol"), cases())
def test_each_request_arrives_once_from_who_answered_it(
    row: Row,
    protocol: str,
    receiver: Receiver,
    requests: int,
    tmp_path: Path,
    write_result: Callable[[dict[str, object]], None],
):
    """Every request is one server span and one count, with its children, under the pid and id of its own process."""
    with serve(row, receiver.environment(protocol), tmp_path, requests) as server:
        sent = run(server, row, requests)
    receiver.wait_until_quiet()
    actual = account(
        sent, receiver.spans, receiver.points, work_span=row.work_span, work_counter=row.work_counter
    ).as_dict()
    about = {"row": row.name, "protocol": protocol, "class": row.exit_class, "note": row.note}
    write_result({**about, "stop_seconds": round(server.stop_seconds, 2), **actual})
    assert expected(sent) == actual, server.output[-5000:]
