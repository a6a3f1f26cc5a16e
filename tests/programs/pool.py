"""python pool.py METHOD END REQUESTS: a multiprocessing.Pool of three makes requests; END is close, recycle or terminate."""

import multiprocessing
import sys

from calling import send

import otelfork


def main(method, end, requests):
    """Hand the requests out one by one, then end the pool."""
    otelfork.configure()
    context = multiprocessing.get_context(method)
    # A worker of a fork server inherits nothing of ours: it says itself that SIGTERM, which ends it, is a way out.
    begin = otelfork.configure if method == "forkserver" else None
    with context.Pool(3, begin, maxtasksperchild=10 if end == "recycle" else None) as pool:
        pool.map(send, [1] * requests, chunksize=1)
        if end != "terminate":
            pool.close()
            pool.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
