"""A response whose words are given: it is spoken like any other, and no model thinks about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from offhook.model.interface import Backend, ModelOutput
from offhook.session.inputs import AudioProduced, GenerationFinished, TextProduced
from offhook.session.outputs import Generate


async def say_verbatim(backend: Backend, request: Generate) -> AsyncIterator[ModelOutput]:
    """Yield the words of ``request.verbatim``, and with them their sound when it is spoken. Raises ModelError."""
    run, unplaced = request.run, request.verbatim
    yield TextProduced(run, request.verbatim)
    if request.modality == "audio":
        async with aclosing(cast("Any", backend.say(request.verbatim, request.voice, request.speed))) as sounds:
            async for sound in sounds:
                # A voice that does not place its words speaks all of them from its first piece on.
                text, unplaced = sound.text or unplaced, ""
                yield AudioProduced(run, sound.pcm, sound.rate_hz, sound.duration_ms, text)
    yield GenerationFinished(run)
