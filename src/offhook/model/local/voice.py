"""Text to speech on this machine: the installed voice in a worker process, as the voice of a cascade.

Sound comes word by word, each piece with exactly the words that it speaks, so that an interrupted answer is remembered
to the word. Whoever stops listening to ``speak`` stops the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from offhook.model.interface import Sound
from offhook.model.local import limits
from offhook.model.local.pool import Pool, PoolOptions
from offhook.model.local.pooled import Pooled
from offhook.model.local.voices.assets import PROVIDED
from offhook.wire.session import CustomVoice, Voice

ENGINE: Final = "offhook.model.local.voices.speaker:load"
DEFAULT: Final = "alloy"


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """``folder``: where the user keeps further voice files. One worker speaks for a hundred calls."""

    folder: Path | None = None
    workers: int = 1


class LocalVoice(Pooled):
    """The installed voice as a TextToSpeech. ``about`` has its ``voice`` and ``sha256``.

    ``folder``: whether its workers know one of further voices.
    """

    def __init__(self, pool: Pool, *, folder: bool = False) -> None:
        super().__init__(pool)
        self._folder = folder

    @property
    def name(self) -> str:
        """What speaks."""
        return f"local voice {self.about.get('voice', '')}".rstrip()

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech of a text; the texts of all pieces, joined, are the text. Raises ModelError.

        A text that nothing can be heard of, such as an emoji, yields nothing.
        """
        request = self._pool.ask({"text": text, "voice": self._known(voice), "speed": speed})
        joined = Joined()
        try:
            async with aclosing(cast("Any", request.results())) as results:
                async for result in results:
                    if (sound := joined.add(Sound(result["pcm"], result["rate_hz"], result["text"]))) is not None:
                        yield sound
            if (sound := joined.last()) is not None:
                yield sound
        finally:
            request.cancel()

    def _known(self, voice: Voice) -> str:
        name = voice.id if isinstance(voice, CustomVoice) else voice
        return DEFAULT if name in PROVIDED and not self._folder else name


class Joined:
    """Sees to it that every piece has sound and words: what is missing one of them goes with a neighbour.

    Words without sound go with the sound after them, at the end with the one before; sound without words with the
    words before it, at the beginning with those after.
    """

    def __init__(self) -> None:
        self._held: Sound | None = None
        self._text = ""

    def add(self, piece: Sound) -> Sound | None:
        """Take the next piece; return one that is complete now. The newest is held until its successor is here."""
        text = self._text + piece.text
        if not piece.pcm:
            self._text = text
            return None
        self._text = ""
        held = self._held
        if held is not None and not (text and held.text):
            self._held = Sound(held.pcm + piece.pcm, piece.rate_hz, held.text + text)
            return None
        self._held = Sound(piece.pcm, piece.rate_hz, text)
        return held

    def last(self) -> Sound | None:
        """Return what is left: the last piece with the words after it, or nothing when nothing was said."""
        held = self._held
        if held is None or not held.text + self._text:
            return None
        return Sound(held.pcm, held.rate_hz, held.text + self._text)


def local_voice(options: VoiceOptions) -> LocalVoice:
    """Return a voice that is not started yet."""
    load = {} if options.folder is None else {"voices": str(options.folder)}
    pool = Pool(PoolOptions("text to speech", ENGINE, options.workers, load, task_s=limits.SPEAKING_S))
    return LocalVoice(pool, folder=options.folder is not None)
