"""Fixtures of the conformance tests: the receiver, the number of requests, where results are written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otelfork.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Receive what the processes under test send, on free loopback ports."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def requests() -> int:
    """Return how many requests a row gets: 200, or OTELFORK_TEST_REQUESTS."""
    return int(os.environ.get("OTELFORK_TEST_REQUESTS", "200"))


@pytest.fixture
def write_result() -> Callable[[dict[str, object]], None]:
    """Write a row's figures as JSON into the folder OTELFORK_TEST_RESULTS, where `report` reads them."""
    folder = os.environ.get("OTELFORK_TEST_RESULTS")

    def write(result: dict[str, object]) -> None:
        if folder:
            name = re.sub(
                r"[^a-z0-9]+",
                "-",
                f"{result['row']} {result.get('protocol', result.get('mutation', result.get('way')))}".lower(),
            )
            Path(folder, f"{name}.json").write_text(json.dumps(result), encoding="utf-8")

    return write
