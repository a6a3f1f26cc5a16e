"""python leave.py WAY REQUESTS: makes requests in process, then leaves by one of the ways that a script has."""

import os
import signal
import sys

import calling

import otelfork


def handled(number, frame):
    """Stand for a handler that the program had before ours: it leaves at once, without a word to atexit."""
    os._exit(7)


def leave(way):
    """Leave; a way by signal waits for it in a call that Python interrupts."""
    if way == "sys.exit":
        sys.exit(3)
    if way == "exception":
        raise RuntimeError("nobody catches this")
    if way.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, way.partition(" ")[0]))
        signal.pause()


if __name__ == "__main__":
    chosen = sys.argv[1]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
    if chosen.endswith("handler"):
        signal.signal(getattr(signal, chosen.partition(" ")[0]), handled)
    if chosen.endswith("default"):
        signal.signal(getattr(signal, chosen.partition(" ")[0]), signal.SIG_DFL)
    otelfork.configure()
    calling.send(int(sys.argv[2]))
    leave(chosen)
