"""How much memory a process has used at most. It must not import anything that uses memory of its own."""

from __future__ import annotations

import resource


def peak_memory() -> int:
    """Return the most bytes that were resident in this process.

    Not `ru_maxrss` where there is another way: Linux hands that on through fork and exec, so that a small process shows the
    memory of the one that has started it.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - pathlib is not free
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
