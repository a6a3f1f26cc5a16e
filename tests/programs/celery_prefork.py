"""python celery_prefork.py REQUESTS [OPTION...]: starts a celery prefork worker, hands it tasks, stops it with SIGTERM.

The options are celery's, such as --max-tasks-per-child 10.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main(requests: int, *options: str) -> int:
    """Pass the worker's lines on until each task has told of its request, then end the worker."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CELERY_FOLDER"] = folder
        from celery_tasks import work

        for _ in range(requests):
            work.delay()
        command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--pool", "prefork"]
        command += ["--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent) as worker:
            told = 0
            for line in worker.stdout:
                os.write(1, line)
                told += line.startswith(b"sent ")
                if told == requests:
                    worker.terminate()
                    told = 0
        return worker.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
