"""python process_pool.py METHOD REQUESTS: a ProcessPoolExecutor of three makes requests, its parent some before."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from calling import send, shares


def main(method: str, requests: int) -> None:
    """Let the parent make its share first, then hand out the rest one by one."""
    own, others = shares(requests, 2)
    send(own)
    with ProcessPoolExecutor(max_workers=3, mp_context=multiprocessing.get_context(method)) as pool:
        list(pool.map(send, [1] * others))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
