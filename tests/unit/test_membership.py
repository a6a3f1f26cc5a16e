"""A process's place in its run: where there is no scoreboard to be had, plain ids, said once."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fresh import run

from otelfork.run.membership import Membership
from otelfork.settings.run import RunSettings


def member(*directories: Path, enabled: bool = True) -> Membership:
    """Return a membership that may use these directories only."""
    return Membership(RunSettings(enabled, directories, slots=8, rows=4), "shop", "origin", os.getpid())


def missing(folder: Path) -> Path:
    """A file stands where the directory's parent should be."""
    (folder / "file").write_text("")
    return folder / "file" / "run"


def open_to_others(folder: Path) -> Path:
    """Others may write into it."""
    (folder / "run").mkdir()
    (folder / "run").chmod(0o777)
    return folder / "run"


def foreign(folder: Path) -> Path:
    """It belongs to another user."""
    return Path("/proc/1") if os.getuid() else _given_away(folder)


def _given_away(folder: Path) -> Path:
    (folder / "run").mkdir(mode=0o700)
    os.chown(folder / "run", 12345, 12345)
    return folder / "run"


def read_only(folder: Path) -> Path:
    """Nothing can be made in it, not even by root."""
    return Path("/proc/self/run")


@pytest.mark.parametrize("place", [missing, open_to_others, foreign, read_only])
def test_a_directory_that_cannot_be_used_is_said(place: Callable[[Path], Path], tmp_path: Path, caplog) -> None:
    """No scoreboard, one warning with what to set, and no exception."""
    directory = place(tmp_path)
    board = member(directory).join()
    assert (None, 1, True) == (board, len(caplog.records), "OTELFORK_RUN_DIR" in caplog.text)


def test_the_next_directory_is_tried(tmp_path: Path, caplog, monkeypatch) -> None:
    """A directory that cannot be used costs nothing where there is another one."""
    monkeypatch.setenv("OTELFORK_RUN", "origin")
    board = member(missing(tmp_path), tmp_path / "good").join()
    assert board is not None
    assert (0, tmp_path / "good", []) == (board.slot, board.directory, caplog.records)


def test_a_full_disk_is_no_scoreboard(tmp_path: Path, caplog) -> None:
    """Space is reserved before it is mapped: no SIGBUS later, but plain ids now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        board = member(tmp_path / "run").join()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (None, True) == (board, "no scoreboard" in caplog.text)


def test_turned_off_is_silent(tmp_path: Path, caplog) -> None:
    """OTELFORK_SCOREBOARD=false is a wish, not a problem."""
    assert (None, []) == (member(tmp_path / "run", enabled=False).join(), caplog.records)


def test_without_a_scoreboard_each_process_has_an_id_of_its_own(tmp_path: Path) -> None:
    """Plain UUIDs, and everything arrives."""
    lines = run(
        """
        class Ids(Spans):
            def export(self, batch, *args, **kwargs):
                for span in batch:
                    resource = span.resource.attributes
                    out(resource["service.instance.id"], "worker.id" in resource)
        configure(exporters={"traces": [Ids], "metrics": [], "logs": []})
        reaped([forked(lambda: span("s")) for _ in range(3)])
        os._exit(0)
        """,
        environment={"OTELFORK_RUN_DIR": str(missing(tmp_path))},
    )
    ids = [line.split() for line in lines]
    assert (3, {"False"}) == (len({own for own, _ in ids}), {place for _, place in ids})
