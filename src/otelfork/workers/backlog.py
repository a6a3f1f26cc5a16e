"""How many connections wait to be accepted on the sockets that this process listens on, as Linux tells it.

Source: proc(5), /proc/[pid]/net/tcp: of a listening socket `rx_queue` is the accept queue. A port on which each worker has a
socket of its own (SO_REUSEPORT) is told as a whole. Unix sockets have no such figure there.
"""

from __future__ import annotations

import re
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

Address = tuple[str, int]
_LISTENS = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def backlogs(proc: Path = Path("/proc/self")) -> Mapping[Address, int]:
    """Return the waiting connections by address and port; nothing where the system does not tell."""
    own = _own_sockets(proc / "fd")
    rows = [row for name in ("tcp", "tcp6") for row in _listening(proc / "net" / name)]
    ours = {address for address, inode, _ in rows if inode in own}
    waiting: Counter[Address] = Counter()
    for address, _, queue in rows:
        if address in ours:
            waiting[address] += queue
    return waiting


def _own_sockets(descriptors: Path) -> set[str]:
    found = set()
    try:
        links = list(descriptors.iterdir())
    except OSError:
        return set()
    for link in links:
        try:
            match = _SOCKET.fullmatch(str(link.readlink()))
        except OSError:  # closed meanwhile
            continue
        if match:
            found.add(match.group(1))
    return found


def _listening(table: Path) -> Iterator[tuple[Address, str, int]]:
    """Yield address, inode and accept queue of each listening socket of a table."""
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENS:
            yield _address(fields[1]), fields[9], int(fields[4].partition(":")[2], 16)


def _address(text: str) -> Address:
    """Return address and port as people write them; the kernel prints words of 32 bits in the machine's own order."""
    host, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(host[at : at + 8], 16)) for at in range(0, len(host), 8))
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, raw), int(port, 16)
