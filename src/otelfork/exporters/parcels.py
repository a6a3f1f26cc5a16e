"""A batch that is OTLP bytes already: what the spool kept, on its way through a standard exporter."""

from __future__ import annotations

from typing import Any, final


@final
class Parcel:
    """An encoded `Export*ServiceRequest` and the number of its records."""

    __slots__ = ("count", "packed")

    def __init__(self, count: int, packed: bytes) -> None:
        self.count = count
        self.packed = packed

    def __len__(self) -> int:
        return self.count


@final
class Message:
    """Stands in for a protobuf message that is bytes already; what else is asked of it, the real one answers."""

    __slots__ = ("_kind", "_packed")

    def __init__(self, packed: bytes, kind: Any) -> None:
        self._packed = packed
        self._kind = kind

    def SerializePartialToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self._packed

    SerializeToString = SerializePartialToString

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind.FromString(self._packed), name)
