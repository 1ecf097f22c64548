"""Speech to text on this machine: Whisper in worker processes, as the ear of a cascade.

``transcribe`` is what a conversation asks at the end of a turn. Whoever believes that a turn is about to end asks
``hear_early`` before it has: what that returns goes on by itself, is dropped for next to nothing when the caller speaks
on, and is there when the guess was right.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from offhook.audio.pcm import from_bytes, to_bytes
from offhook.model.interface import ModelError, Speech, Words
from offhook.model.local import limits
from offhook.model.local.pool import Pool, PoolOptions, Request, Urgency
from offhook.model.local.pooled import Pooled
from offhook.model.local.whisper.split import split_speech
from offhook.model.transcript_prompt import transcript_prompt
from offhook.wire.items import LogProb
from offhook.wire.session import TranscriptionEcho

ENGINE: Final = "offhook.model.local.whisper.engine:load"

MOST_WORKERS: Final = 2
"""Two hear sixteen callers; each has its own copy of the weights, and stands behind the calls for the processor."""

# Where Whisper's codes are not those of today.
_CODES: Final = {"he": "iw", "jv": "jw", "nb": "no", "fil": "tl", "cmn": "zh"}


@dataclass(frozen=True, slots=True)
class EarOptions:
    """``whisper``: a packaged model by name, or the folder of a CTranslate2 one. ``workers``: 0 finds a number."""

    whisper: str = "tiny.en"
    workers: int = 0


class Hearing:
    """A stretch of speech on its way to words."""

    def __init__(self, requests: list[Request]) -> None:
        self._requests = requests

    @property
    def ended(self) -> bool:
        """Whether all its words are known, or never will be."""
        return all(request.ended for request in self._requests)

    @property
    def waited_ms(self) -> float:
        """How long it stood in the queue before a worker had it."""
        return self._requests[0].waited_ms

    @property
    def cpu_ms(self) -> float:
        """What it took of a core."""
        return sum(request.cpu_ms for request in self._requests)

    def cancel(self) -> None:
        """Nobody wants it any more. Before a worker has it this costs nothing, later at most one step of the model."""
        for request in self._requests:
            request.cancel()

    def hasten(self) -> None:
        """The turn has ended: what was a guess is waited for now."""
        for request in self._requests:
            request.hasten(Urgency.AWAITED)

    async def words(self) -> AsyncIterator[Words]:
        """Yield the words, those of long speech piece by piece; may be asked for again. Raises ModelError."""
        begun = False
        for request in self._requests:
            async for result in request.results():
                yield _words(result, begun=begun)
                begun = True


class LocalEar(Pooled):
    """Whisper as a SpeechToText. ``about`` has its ``model``, ``sha256`` and ``languages``."""

    @property
    def name(self) -> str:
        """What hears."""
        return f"whisper {self.about.get('model', '')}".rstrip()

    def hear(self, speech: Speech, wanted: TranscriptionEcho | None, urgency: Urgency = Urgency.SPECULATIVE) -> Hearing:
        """Begin to turn speech into words. Raises ModelError when it is refused."""
        languages = self._languages(wanted)
        known = speech.language if speech.language in (languages or self.about.get("languages", ())) else ""
        prompt = transcript_prompt(wanted)
        task = {"rate_hz": speech.rate_hz, "languages": languages, "known": known, "prompt": prompt}
        requests: list[Request] = []
        try:
            for piece in split_speech(from_bytes(speech.pcm), speech.rate_hz):
                requests.append(self._pool.ask(task | {"pcm": to_bytes(piece)}, urgency))  # noqa: PERF401 - some stay
        except ModelError:
            Hearing(requests).cancel()
            raise
        return Hearing(requests)

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> Hearing | None:
        """Begin with what may be a whole turn; None when it is too long, or others have to wait already."""
        if speech.seconds > limits.EARLY_S or self._pool.queue_wait_ms > limits.EARLY_WAIT_MS:
            return None
        try:
            return self.hear(speech, wanted, Urgency.SPECULATIVE)
        except ModelError:
            return None  # it is asked again at the turn's end, and refused with a reason

    def hear_so_far(self, speech: Speech, wanted: TranscriptionEcho | None) -> Hearing | None:
        """Begin with a turn that goes on; None unless another worker stays free for whoever comes to the end of one."""
        if speech.seconds > limits.EARLY_S or self._pool.idle < 2:
            return None
        try:
            return self.hear(speech, wanted, Urgency.OPTIONAL)
        except ModelError:
            return None

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller, none when nobody spoke. Raises ModelError."""
        hearing = self.hear(speech, wanted, Urgency.AWAITED)
        try:
            async for words in hearing.words():
                yield words
        finally:
            hearing.cancel()

    def _languages(self, wanted: TranscriptionEcho | None) -> tuple[str, ...]:
        """Return the languages that it may be: the one asked for, else those asked for, else any."""
        known = self.about.get("languages", [])
        if wanted is not None and wanted.language:
            code = _code(wanted.language)
            if code not in known:
                what = f"The model {self.about.get('model')} does not hear '{wanted.language}'."
                more = " Start the server with --whisper base (pip install 'offhook[multilingual]')."
                raise ModelError("unsupported_language", what + (more if len(known) == 1 else ""))
            return (code,)
        asked_for = (wanted.languages or ()) if wanted is not None else ()
        return tuple(code for code in map(_code, asked_for) if code in known)


def _code(language: str) -> str:
    code = language.replace("_", "-").partition("-")[0].lower()
    return _CODES.get(code, code)


def _words(result: dict[str, Any], *, begun: bool) -> Words:
    text: str = result["text"]
    tokens: list[bytes] = result["tokens"]
    if not begun:
        # Whisper's words carry the blank before them; the first has none.
        text = text.lstrip()
        tokens = [tokens[0].lstrip(), *tokens[1:]] if tokens else []
    logprobs = tuple(
        LogProb(token=data.decode(errors="replace"), logprob=logprob, bytes=tuple(data))
        for data, logprob in zip(tokens, result["logprobs"], strict=True)
    )
    return Words(text, logprobs, result["language"] if result["sure"] else "")


def local_ear(options: EarOptions) -> LocalEar:
    """Return an ear that is not started yet."""
    workers = options.workers or min(_cores(), MOST_WORKERS)
    return LocalEar(Pool(PoolOptions("speech to text", ENGINE, workers, {"whisper": options.whisper})))


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
