"""What the server and a model worker say to each other over a pipe: a length of four bytes, then msgpack.

Binary values stay binary, so sound is not encoded. A *task* and a *result* are plain dictionaries whose members are
the engine's own business.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from offhook.errors import RemoteError
from offhook.model.local import limits

HEADER_BYTES: Final = 4


class FrameError(RemoteError):
    """The other end of the pipe sent something that is no frame."""


class Load(msgspec.Struct, frozen=True, tag="load"):
    """To the worker, first of all: what its engine is to be loaded with."""

    options: dict[str, Any]


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """To the worker: do a task."""

    id: int
    task: dict[str, Any]


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """To the worker: nobody waits for this task any more. It still says when it has finished."""

    id: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """From the worker: the engine is loaded, checked and warm. ``about`` is what it says of itself."""

    about: dict[str, Any]


class Unusable(msgspec.Struct, frozen=True, tag="unusable"):
    """From the worker: the engine cannot be loaded; the members are those of a ConfigError."""

    key: str
    message: str
    mend: str


class Result(msgspec.Struct, frozen=True, tag="result"):
    """From the worker: the next result of a task."""

    id: int
    result: dict[str, Any]


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """From the worker: a task is done, or was cancelled. ``cpu_ms`` is what it took of a core."""

    id: int
    cpu_ms: float


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From the worker: a task failed; the members are those of a ModelError."""

    id: int
    code: str
    message: str


ToWorker = Load | Serve | Cancel
FromWorker = Ready | Unusable | Result | Finished | Failed

_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_encode = msgspec.msgpack.Encoder().encode


def pack(frame: ToWorker | FromWorker) -> bytes:
    """Return a frame with its length in front."""
    body = _encode(frame)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_bytes(header: bytes) -> int:
    """Return how many bytes follow a header. Raises FrameError."""
    size_bytes = int.from_bytes(header, "big")
    if not 0 < size_bytes <= limits.FRAME_BYTES:
        raise FrameError(f"a frame of {size_bytes} bytes")
    return size_bytes


def read_to_worker(body: bytes) -> ToWorker:
    """Return what the server said. Raises FrameError."""
    try:
        return _to_worker.decode(body)
    except (msgspec.DecodeError, UnicodeError) as failure:
        raise FrameError(str(failure)) from failure


def read_from_worker(body: bytes) -> FromWorker:
    """Return what a worker said. Raises FrameError."""
    try:
        return _from_worker.decode(body)
    except (msgspec.DecodeError, UnicodeError) as failure:
        raise FrameError(str(failure)) from failure
