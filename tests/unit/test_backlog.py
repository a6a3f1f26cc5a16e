"""The listen backlog, as the kernel tells it of the sockets that a process has."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from otelfork.workers.backlog import backlogs

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")

_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def until(expected: object, read: Callable[[], object]) -> object:
    """Read until that is expected, for five seconds at the most; return what was read last."""
    deadline = time.monotonic() + 5
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@linux
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_that_wait_are_counted(family: socket.AddressFamily, host: str) -> None:
    """As many as have connected and were not accepted, by the address that is listened on."""
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen(10)
        address = server.getsockname()[:2]
        clients = [socket.create_connection(address) for _ in range(3)]
        waiting = until(3, lambda: backlogs()[address])
        accepted = server.accept()[0]
        left = until(2, lambda: backlogs()[address])
        for each in (accepted, *clients):
            each.close()
    assert (3, 2) == (waiting, left)


def test_a_port_with_a_socket_for_each_worker_is_told_as_a_whole(tmp_path: Path) -> None:
    """With SO_REUSEPORT the backlogs of all workers' sockets add up; other servers' sockets are not ours."""
    (tmp_path / "net").mkdir()
    (tmp_path / "fd").mkdir()
    (tmp_path / "fd" / "5").symlink_to("socket:[111]")
    (tmp_path / "fd" / "6").symlink_to("/dev/null")
    rows = [("0100007F:1F90", "0A", 4, 111), ("0100007F:1F90", "0A", 3, 222), ("0100007F:1F91", "0A", 9, 333)]
    rows.append(("0100007F:1F90", "01", 7, 444))  # a connection
    lines = [f" 0: {at} 00000000:0000 {state} 00000000:{n:08X} 00:0 0 0 0 {inode} 1\n" for at, state, n, inode in rows]
    (tmp_path / "net" / "tcp").write_text(_HEADER + "".join(lines), encoding="ascii")
    assert {("127.0.0.1", 8080): 7} == backlogs(tmp_path)


def test_a_system_that_does_not_tell_has_no_figure(tmp_path: Path) -> None:
    """Without /proc there is no point, and no error."""
    assert {} == backlogs(tmp_path / "missing")
