"""The way of one export request into the store, the same for both protocols.

It joins faults, decoding and store; it must not know HTTP or gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from otelfork.receiver.decode import DECODERS
from otelfork.receiver.faults import Faults, Gate, Outcome
from otelfork.receiver.records import ReceivedRequest
from otelfork.receiver.store import Store


class MalformedRequestError(ValueError):
    """The body of an export request is not what OTLP says it is; its sender must not try again."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes export requests of both protocols into one store."""

    store: Store
    gate: Gate

    def take(
        self, signal: str, protocol: str, body: bytes, *, headers: Mapping[str, str], size: int
    ) -> tuple[Outcome, Faults]:
        """Act out the fault that is due and keep the records; raises MalformedRequestError."""
        outcome, faults = self.gate.deal(signal)
        records: list[Any] = []
        try:
            for _ in range(_COPIES[outcome]):
                records += DECODERS[signal](body, self.store.next_batch())
        except DecodeError as error:
            self.store.add(
                ReceivedRequest(signal=signal, protocol=protocol, headers=headers, size=size, outcome=MALFORMED)
            )
            raise MalformedRequestError(f"not an OTLP {signal} export request: {error}") from None
        request = ReceivedRequest(signal=signal, protocol=protocol, headers=headers, size=size, outcome=outcome.value)
        self.store.add(request, records)
        return outcome, faults


MALFORMED = "malformed"
_COPIES = {Outcome.STORED: 1, Outcome.DOUBLED: 2, Outcome.DROPPED: 0, Outcome.REFUSED: 0, Outcome.HUNG: 0}
