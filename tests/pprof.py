"""Reads what Pyroscope's agent pushes: `push.v1.PushRequest`, and pprof's `Profile` in it, by the wire format of protobuf.

Sources: grafana/pyroscope `api/push/v1/push.proto`, google/pprof `proto/profile.proto`.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Profiled:
    """One sample: the functions that were running, the innermost first, its values, and its labels."""

    stack: tuple[str, ...]
    values: tuple[int, ...]
    labels: frozenset[tuple[str, str]]

    def label(self, name: str) -> set[str]:
        """Return the values of a label."""
        return {value for key, value in self.labels if key == name}


@dataclass(frozen=True, slots=True)
class Series:
    """Profiles of one process: the labels of all, and the samples of each together."""

    labels: dict[str, str]
    samples: tuple[Profiled, ...]


def read(body: bytes) -> list[Series]:
    """Decode the body of a push."""
    plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    return [_series(value) for number, value in _fields(plain) if number == 1 and isinstance(value, bytes)]


def _series(raw: bytes) -> Series:
    labels: dict[str, str] = {}
    samples: list[Profiled] = []
    for number, value in _fields(raw):
        content = _of(value)
        if number == 1:
            labels[_text(content[1])] = _text(content.get(2, b""))
        elif number == 2:
            samples += _profile(bytes(content[1]))
    return Series(labels, tuple(samples))


def _profile(raw: bytes) -> Iterator[Profiled]:
    plain = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    parts: dict[int, list[bytes]] = {}
    for number, value in _fields(plain):
        if isinstance(value, bytes):
            parts.setdefault(number, []).append(value)
    strings = [each.decode() for each in parts[6]]
    functions = {_of(each)[1]: strings[_of(each)[2]] for each in parts.get(5, ())}
    places = {_of(each)[1]: functions[_of(_of(each)[4])[1]] for each in parts.get(4, ())}
    for sample in parts.get(2, ()):
        found = list(_fields(sample))
        labels = [_of(value) for number, value in found if number == 3]
        yield Profiled(
            tuple(places[number] for number in _numbers(found, 1)),
            tuple(_numbers(found, 2)),
            frozenset((strings[label[1]], strings[label[2]]) for label in labels if 2 in label),
        )


def _numbers(fields: list[tuple[int, int | bytes]], wanted: int) -> list[int]:
    """Return repeated integers, packed or not."""
    numbers: list[int] = []
    for number, value in fields:
        if number != wanted:
            continue
        if isinstance(value, int):
            numbers.append(value)
            continue
        at = 0
        while at < len(value):
            decoded, at = _varint(value, at)
            numbers.append(decoded)
    return numbers


def _of(raw: int | bytes) -> dict[int, Any]:
    assert isinstance(raw, bytes)
    return dict(_fields(raw))


def _text(raw: bytes) -> str:
    return bytes(raw).decode()


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield number, value
        elif kind == 2:
            length, at = _varint(raw, at)
            yield number, raw[at : at + length]
            at += length
        else:
            at += {1: 8, 5: 4}[kind]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
