"""`otelfork verify` against a server that traces by hand, so that a fault of ours cannot hide one of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from otelfork.cli import main, verify
from otelfork.cli.account import Account
from otelfork.cli.server import ServerNotStartedError, ServerProcess, free_port
from otelfork.receiver import ALWAYS, PROTOCOLS, Receiver

SERVER = (sys.executable, str(Path(__file__).parents[1] / "programs" / "traced_server.py"), "{port}")
URL = "http://127.0.0.1:{port}/"

pytestmark = pytest.mark.timeout(90)


def run(*mode: str, requests: int = 40, receiver: Receiver | None = None, timeout: float = 30.0) -> Account:
    return verify.run((*SERVER, *mode), url=URL, requests=requests, receiver=receiver, timeout=timeout)


def command(*mode: str, options: tuple[str, ...] = ()) -> Result:
    return CliRunner().invoke(main, ["verify", "--url", URL, "--requests", "40", *options, "--", *SERVER, *mode])


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Receiver]]:
    """The command's own receiver is replaced by the one that a test puts here."""
    given: list[Receiver] = []
    monkeypatch.setattr(verify, "Receiver", lambda: given[0])
    yield given
    for receiver in given:
        receiver.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_true_server_passes(protocol: str) -> None:
    """Nothing lost or doubled: exit status 0, the histogram's count and the line for machines at the end."""
    result = command(options=("--protocol", protocol))
    assert (result.exit_code, result.output.splitlines()[-2:]) == (
        0,
        ["http.server.request.duration count 40 expected 40", "sent 40 received 40 lost 0 duplicated 0"],
    ), result.output


def test_a_dropped_batch_of_spans_fails(faulty: list[Receiver]) -> None:
    """A receiver that drops one batch of spans makes the command exit 1 and say what is lost."""
    faulty.append(Receiver(drop=1, signals=["traces"]))
    result = command()
    lost = 40 - len(faulty[0].spans)
    assert (result.exit_code, lost > 0, result.output.splitlines()[-1]) == (
        1,
        True,
        f"sent 40 received {40 - lost} lost {lost} duplicated 0",
    )


def test_a_doubled_batch_of_spans_fails(faulty: list[Receiver]) -> None:
    """A receiver that doubles one batch of spans makes the command exit 1 and say what is doubled."""
    faulty.append(Receiver(double=1, signals=["traces"]))
    result = command()
    doubled = len(faulty[0].spans) - 40
    assert (result.exit_code, doubled > 0, result.output.splitlines()[-1]) == (
        1,
        True,
        f"sent 40 received 40 lost 0 duplicated {doubled}",
    )


def test_dropped_metrics_fail(faulty: list[Receiver]) -> None:
    """With every span there but no metrics, the command exits 1."""
    faulty.append(Receiver(drop=ALWAYS, signals=["metrics"]))
    result = command()
    assert (result.exit_code, result.output.splitlines()[-2:]) == (
        1,
        ["http.server.request.duration count 0 expected 40", "sent 40 received 40 lost 0 duplicated 0"],
    )


def test_doubled_delta_metrics_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delta points, which the user's environment asks for, are summed: a doubled batch of them shows."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    with Receiver(double=1, signals=["metrics"]) as receiver:
        account = run(requests=20, receiver=receiver)
    assert (account.ok, account.histogram_count) == (False, 40)


def test_an_untraced_server_fails() -> None:
    """A server without telemetry loses everything."""
    account = run("untraced")
    assert (account.answered, account.received, account.lost, account.ok) == (40, 0, 40, False)


def test_a_second_server_span_below_the_first_is_a_double() -> None:
    """A framework that traces a request that the middleware traces already is found."""
    account = run("nested")
    assert (account.received, account.lost, account.duplicated) == (40, 0, 40)


def test_reset_connections_are_failed_requests() -> None:
    """A request whose connection broke off is listed as failed; it is neither lost nor repeated."""
    account = run("resets")
    assert (account.answered, len(account.failed), account.received, account.lost, account.ok) == (32, 8, 32, 0, True)


def test_the_account_knows_the_worker() -> None:
    """A worker's row has its pid, its instance id, its spans, its histogram count and its life."""
    account = run()
    [worker] = account.workers
    assert (worker.spans, worker.histogram_count, len(worker.instance_id), 0 < worker.started < worker.ended) == (
        40,
        40,
        36,
        True,
    )


def test_paths_take_turns() -> None:
    """Several paths are requested in turn."""
    with Receiver() as receiver:
        verify.run(SERVER, url=URL, paths=("/a", "/b"), requests=10, receiver=receiver)
        names = sorted(span.name for span in receiver.spans)
    assert names == ["GET /a"] * 5 + ["GET /b"] * 5


def test_connections_can_be_reused() -> None:
    """With `keep_alive` nothing is lost either."""
    account = verify.run(SERVER, url=URL, requests=40, keep_alive=True)
    assert (account.answered, account.ok) == (40, True)


def test_progress_counts_every_request() -> None:
    """`progress` is told each number up to the number of requests, once and in order."""
    told: list[int] = []
    verify.run(SERVER, url=URL, requests=20, progress=told.append)
    assert told == list(range(1, 21))


def test_the_users_own_collector_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints, headers and proxies of the user's environment do not lead the telemetry elsewhere."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/v1/metrics")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert run().ok is True


def test_the_users_environment_reaches_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not about OTLP in the environment is kept, and `environment` comes on top."""
    monkeypatch.setenv("SHOP_COLOUR", "blue")
    show = "import os; print(os.environ['SHOP_COLOUR'], os.environ['SHOP_SIZE'])"
    with pytest.raises(ServerNotStartedError) as caught:
        verify.run([sys.executable, "-c", show], url=URL, environment={"SHOP_SIZE": "7"})
    assert caught.value.output == "blue 7\n"


def test_a_server_that_ends_at_once_did_not_start() -> None:
    """A command that ends before it listens: exit status 2, its last output, and what to do."""
    broken = [sys.executable, "-c", "import sys; sys.exit('no such application')"]
    result = CliRunner().invoke(main, ["verify", "--url", URL, "--", *broken])
    assert (result.exit_code, "no such application" in result.stderr, "status 1" in result.stderr) == (2, True, True)


def test_a_server_that_dies_at_the_first_request_did_not_start() -> None:
    """A server that ends before it has answered anything: exit status 2."""
    result = command("dies")
    assert (result.exit_code, "before it answered a request" in result.stderr) == (2, True)


def test_a_server_on_another_port_did_not_start() -> None:
    """A server that never listens where it should is given up after the start timeout, and ended."""
    with pytest.raises(ServerNotStartedError, match=r"nothing listens on 127\.0\.0\.1:\d+ after 0\.2 s"):
        verify.run([sys.executable, "-c", "import signal; signal.pause()"], url=URL, start_timeout=0.2)


def test_a_command_that_does_not_exist_did_not_start() -> None:
    """A command that cannot be run: exit status 2, and its name in the message."""
    result = CliRunner().invoke(main, ["verify", "--url", URL, "--", "/no/such/server"])
    assert (result.exit_code, "/no/such/server" in result.stderr) == (2, True)


def test_a_stranger_on_the_port_is_not_driven() -> None:
    """If something else listens on the port already, nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        url = f"http://127.0.0.1:{stranger.getsockname()[1]}/"
        with pytest.raises(ServerNotStartedError, match="something else listens"):
            verify.run(SERVER, url=url)


def test_a_stubborn_server_is_killed_at_the_deadline() -> None:
    """A server that ignores SIGTERM is killed after the timeout; the account says so and what it lost."""
    account = run("stubborn", timeout=1.0)
    assert (account.killed, account.exit_status, account.histogram_count) == (True, -9, 0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="sessions are read from /proc")
def test_an_orphan_is_found_and_ended() -> None:
    """A process that outlives the server it belongs to is named in the account and does not live on."""
    account = run("orphan", timeout=1.0)
    [orphan] = account.left_running
    states = Path(f"/proc/{orphan}/stat")
    gone = not states.exists() or states.read_text().rpartition(")")[2].split()[0] in "ZX"
    assert gone is True


def test_a_server_is_ended_with_its_block() -> None:
    """Leaving the block by an exception ends the server."""
    with (
        pytest.raises(KeyboardInterrupt),
        ServerProcess([sys.executable, "-c", "import time; time.sleep(60)"], environment=os.environ) as server,
    ):
        raise KeyboardInterrupt
    assert server.exit_status == -15


def test_sigterm_stops_the_server_too(tmp_path: Path) -> None:
    """A SIGTERM to the command, as CI sends it, stops the server before the command ends."""
    notes = tmp_path / "notes"
    program = (
        "import pathlib, signal, sys, time\n"
        f"notes = pathlib.Path({str(notes)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: (notes.write_text('stopped'), sys.exit()))\n"
        "notes.write_text('started')\n"
        "time.sleep(60)"
    )
    start = "import sys; from otelfork.cli import main; main()"
    arguments = ["verify", "--url", URL, "--", sys.executable, "-c", program]
    with subprocess.Popen([sys.executable, "-c", start, *arguments], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not notes.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        process.wait(30)
    assert (process.returncode, notes.read_text()) == (143, "stopped")


@pytest.mark.parametrize(
    "bad", [{"requests": 0}, {"concurrency": 0}, {"url": "localhost:8000"}, {"url": "http://"}, {"command": ()}]
)
def test_arguments_that_mean_nothing_are_refused(bad: dict[str, object]) -> None:
    """An argument that cannot be used is a ValueError before anything is started."""
    arguments = {"command": SERVER, "url": URL, **bad}
    with pytest.raises(ValueError, match=r"expected|names no host"):
        verify.run(**arguments)  # type: ignore[arg-type]


def test_a_free_port_is_free() -> None:
    """A free port can be bound."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0


def test_without_the_extra_the_command_names_it(tmp_path: Path) -> None:
    """Without the libraries of the extra `cli` the command says how to install it and exits with status 3."""
    hide = "import sys; sys.modules['click'] = None; from otelfork.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, "pip install 'otelfork[cli]'" in done.stderr, "Traceback" in done.stderr) == (
        3,
        True,
        False,
    )
