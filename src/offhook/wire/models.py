"""The model objects of ``GET /models``. Source: API reference, "Models"."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

KNOWN_MODELS: Final = (
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-realtime-1.5",
    "gpt-realtime-2",
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
)
"""The API's names for models that hold conversations, without its dated snapshots."""


def tells_speakers(transcriber: str | None) -> bool:
    """Say whether a model of this name transcribes by speakers, as ``gpt-4o-transcribe-diarize`` does."""
    return transcriber is not None and "diarize" in transcriber.lower()


class Model(Struct, frozen=True, kw_only=True):
    """A model by name; ``created`` in Unix seconds."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "offhook"
    shutdown_date: str | None = None


class ModelList(Struct, frozen=True, kw_only=True):
    """All of them."""

    data: tuple[Model, ...]
    object: Literal["list"] = "list"
