"""python quiet_child.py: a parent with a live connection forks a child that records nothing and looks around.

Prints `parent N` and `child N`: the connections of each to the port of OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import os
from urllib.parse import urlsplit

import psutil
from calling import send

import otelfork


def connections() -> int:
    """Count this process's connections to the collector."""
    port = urlsplit(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]).port
    return sum(bool(peer.raddr) and peer.raddr.port == port for peer in psutil.Process().net_connections("tcp"))


if __name__ == "__main__":
    send(1)
    otelfork.flush(5)
    os.write(1, f"parent {connections()}\n".encode())
    child = os.fork()
    if child == 0:
        os.write(1, f"child {connections()}\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
