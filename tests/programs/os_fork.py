"""python os_fork.py DEPTH REQUESTS: a chain of forks, each process makes its share before and after it forks.

Depth 1 is a parent and its child, depth 2 is nested: a grandchild as well.
"""

import os
import sys

from calling import send, shares


def main(depth: int, requests: int) -> int:
    """Make a share, fork, make another share while the child runs, wait for the child."""
    generations = shares(requests, depth + 1)
    for level, share in enumerate(generations):
        before, after = shares(share, 2)
        send(before)
        pid = os.fork() if level < depth else -1
        if pid == 0:
            continue
        send(after)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid > 0 else 0
    return 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
