"""python multiprocessing_workers.py METHOD REQUESTS: a parent and its three children make requests."""

import multiprocessing
import sys

from calling import send, shares


def main(method: str, requests: int) -> int:
    """Let the parent make its share before the children start, so that they inherit telemetry that is alive."""
    own, *others = shares(requests, 4)
    context = multiprocessing.get_context(method)
    send(own)
    children = [context.Process(target=send, args=(share,)) for share in others]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return max(abs(child.exitcode or 0) for child in children)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
