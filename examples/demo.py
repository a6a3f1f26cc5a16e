"""The main job, run: two shops under forking servers, every request accounted for at a real OTLP receiver.

Each server is started, sent requests that carry a trace of their own, stopped with SIGTERM while its workers still
hold telemetry, and what has arrived is compared with what was sent. Exit status 0 only if nothing is lost or doubled.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from otelfork.cli.account import Account
from otelfork.cli.report import print_account, print_output, progress_bar
from otelfork.cli.verify import run

HERE = Path(__file__).parent
REQUESTS = 400
PATHS = ("/", "/items/7", "/items/1", "/report", "/relay/7")
GUNICORN = (sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--preload", "--workers", "4")


@dataclass(frozen=True)
class Show:
    """One shop and the options of its gunicorn; `gunicorn.conf.py` in its folder says the rest."""

    folder: str
    options: tuple[str, ...]
    paths: tuple[str, ...]

    def run(self) -> Account:
        """Run the server and print what became of the requests."""
        command = (*GUNICORN, *self.options)
        shown = " ".join(("gunicorn", *command[3:]))
        print(f"\nexamples/{self.folder}: {REQUESTS} requests under {shown}", flush=True)
        with progress_bar(REQUESTS) as progress:
            account = run(
                command,
                url="http://127.0.0.1:{port}",
                paths=self.paths,
                requests=REQUESTS,
                cwd=HERE / self.folder,
                environment={"OTEL_SERVICE_NAME": f"{self.folder}-shop"},
                progress=progress,
            )
        print_account(account)
        if not account.ok:
            print_output(account.server_output)
        return account


SHOWS = (
    Show("flask", ("--max-requests", "60"), (*PATHS, "/broken")),
    # uvicorn closes the connection after an exception; a client that keeps connections alive sees that as a failure.
    Show("fastapi", ("--worker-class", "uvicorn_worker.UvicornWorker"), PATHS),
)


def main() -> int:
    """Run the shows one after the other and add up."""
    accounts = [show.run() for show in SHOWS]
    sent, received, lost, duplicated = (
        sum(getattr(account, name) for account in accounts) for name in ("sent", "received", "lost", "duplicated")
    )
    print(f"\nflask and fastapi: sent {sent} received {received} lost {lost} duplicated {duplicated}")
    return 0 if all(account.ok and not account.failed for account in accounts) else 1


if __name__ == "__main__":
    sys.exit(main())
