"""The weights of a network out of an ONNX file, as arrays.

An ONNX file is one protocol-buffers message (onnx.proto3): model -> graph (field 7) -> initializer (field 5), and of
an initializer its dims (1), data_type (2), float_data (4), name (8) and raw_data (9). That is all that is read here, so
that numpy alone can run the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from offhook.errors import LocalError

_FLOAT: Final = 1


class WeightsError(LocalError):
    """A file that is not the expected network."""


def read_weights(data: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """Return all float initializers of the model's graph by name; `WeightsError` when the file is broken."""
    weights = {}
    try:
        for field, start, end in _fields(data, 0, len(data)):
            if field == 7:
                for inner, inner_start, inner_end in _fields(data, start, end):
                    if inner == 5:
                        weights.update(_tensor(data, inner_start, inner_end))
    except (IndexError, ValueError) as error:
        raise WeightsError(f"the ONNX file is broken: {error}") from error
    return weights


def _tensor(data: bytes, start: int, end: int) -> dict[str, npt.NDArray[np.float32]]:
    shape: list[int] = []
    name = ""
    kind = 0
    values = b""
    for field, first, last in _fields(data, start, end):
        match field:
            case 1 if last < 0:
                shape.append(first)
            case 1:
                while first < last:
                    size, first = _varint(data, first)
                    shape.append(size)
            case 2:
                kind = first
            case 4 | 9:
                values = data[first:last]
            case 8:
                name = data[first:last].decode()
            case _:
                pass
    if kind != _FLOAT or not values:
        return {}
    return {name: np.frombuffer(values, dtype="<f4").astype(np.float32).reshape(shape)}


def _fields(data: bytes, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield field number and where its bytes begin and end, or its value and -1 for a varint."""
    while place < end:
        key, place = _varint(data, place)
        match key & 7:
            case 0:  # A varint.
                value, place = _varint(data, place)
                yield key >> 3, value, -1
            case 2:  # Bytes, or a message inside.
                size, place = _varint(data, place)
                if place + size > end:
                    raise ValueError(f"field {key >> 3} runs over the end")
                yield key >> 3, place, place + size
                place += size
            case 1 | 5 as kind:  # Fixed 64 and 32 bits.
                place += 8 if kind == 1 else 4
            case kind:
                raise ValueError(f"wire type {kind}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
