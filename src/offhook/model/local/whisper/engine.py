"""Whisper inside a worker process: a stretch of speech in, its words out.

The context is 15 s instead of the 30 s that Whisper was trained with wherever the speech fits: a third of the time,
and the word error rate stays what it was (below 10 s it does not: the decoder then loops). Of that context only the
speech is encoded, and the silence behind it comes ready-made: half of the time that remained. Now and then the decoder
then begins once more; it says itself that it could have ended there, or else everything is encoded after all.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np

from offhook.audio.pcm import from_bytes
from offhook.audio.resample import resample
from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local.whisper import clearing, doubt, silence
from offhook.model.local.whisper.features import FRAMES_A_SECOND, RATE_HZ, Floats, log_mel
from offhook.model.local.whisper.folder import SETTING, Folder, find_folder
from offhook.model.local.whisper.tokens import NO_TIMESTAMPS, PREVIOUS, START, TRANSCRIBE, Vocabulary

SHORT_CONTEXT_S: Final = 15
LONG_CONTEXT_S: Final = 30
SHORT_SPEECH_S: Final = 14.5
"""Longer speech gets the long context: its end has to be seen in silence."""

LEAST_SPEECH_S: Final = 0.1
"""Shorter than any word."""

LEAST_PEAK: Final = 64
"""-54 dBFS: what never gets louder is the hum of a line and nobody's voice."""

LANGUAGE_S: Final = 3.0
"""From so much speech on the language that was found is told to be kept for the call."""

SURE: Final = 0.5
"""So probable a language must be for that."""

FOREIGN_LOGPROB: Final = -0.4
"""Words below this may be in another language than the one that the call was found to speak. With base, speech heard
in its own language is above it as a rule, in another below it nearly always (measured with five)."""

CERTAIN: Final = 0.8
"""So probable another language must be to be tried; of short speech half as much is often wrong."""

DOUBTED_LOGPROB: Final = -0.3
"""Words below this are heard again where there is noise, without it: nearly no turn on a good line, two of three in
noise 5 dB below the speech. What is more probable is right more often: it takes away a fifth of the errors."""

TOKENS_A_SECOND: Final = {False: 8, True: 24}
"""Faster nobody speaks: English has five tokens a second at most, scripts without tokens of their own many more."""

FIRST_TOKENS: Final = 16
MOST_TOKENS: Final = 224
PROMPT_TOKENS: Final = 200
"""The end of a prompt is what counts, and the context of the decoder is 448."""


@dataclass(frozen=True, slots=True)
class _Heard:
    tokens: list[int]
    logprobs: list[float]
    ends: list[float]
    """The log-probability of the end in the place of each token, and behind the last one."""
    mean_logprob: float
    """With that of the end, as Whisper counts it."""
    no_speech: float
    limit: int
    """How many tokens it could have had."""
    language: str
    sure: bool = False
    """Whether the language is to be kept for the call."""

    def until(self, place: int) -> _Heard:
        """Return the tokens before a place."""
        steps = [*self.logprobs[:place], self.ends[place]]
        mean = math.fsum(steps) / len(steps)
        return replace(
            self, tokens=self.tokens[:place], logprobs=steps[:-1], ends=self.ends[: place + 1], mean_logprob=mean
        )


class WhisperTask(msgspec.Struct, frozen=True):
    """What to transcribe: at most 30 s.

    ``languages``: those it may be in, the likeliest first; empty is any. ``known``: what the call was found to speak.
    """

    pcm: bytes
    rate_hz: int
    languages: tuple[str, ...] = ()
    known: str = ""
    prompt: str = ""


class WhisperEngine:
    """A loaded model."""

    def __init__(self, folder: Folder) -> None:
        self._ct2: Any = importlib.import_module("ctranslate2")
        self._model = self._ct2.models.Whisper(
            str(folder.path), device="cpu", compute_type="int8", inter_threads=1, intra_threads=1, files=folder.files
        )
        self._vocabulary = Vocabulary.read(folder.path)
        self._multilingual = bool(self._model.is_multilingual)
        self._no_timestamps = self._vocabulary.mark(NO_TIMESTAMPS)
        self._silence = np.array(self._encode(silence.voice(), SHORT_CONTEXT_S))
        self.about: dict[str, Any] = {
            "model": folder.name,
            "sha256": folder.sha256,
            "languages": sorted(self._vocabulary.languages) if self._multilingual else ["en"],
        }

    def warm(self) -> None:
        """Do everything once."""
        hum = np.sin(np.arange(RATE_HZ) * 0.05) * 8000
        for _ in self.serve({"pcm": hum.astype("<i2").tobytes(), "rate_hz": 8000}):
            pass

    def serve(self, task: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """Yield one result, or none when nobody spoke: ``text``, ``tokens``, ``logprobs``, ``language``."""
        wanted = msgspec.convert(task, WhisperTask)
        samples = from_bytes(wanted.pcm)
        if len(samples) < LEAST_SPEECH_S * wanted.rate_hz or np.abs(samples).max() < LEAST_PEAK:
            return
        sound = resample(samples, wanted.rate_hz, RATE_HZ).astype(np.float32) / 32768.0
        seconds = len(sound) / RATE_HZ
        if seconds > LONG_CONTEXT_S:
            raise ModelError("audio_too_long", f"{seconds:.0f} s do not fit into the model's {LONG_CONTEXT_S} s.")
        heard = yield from self._understand(sound, wanted)
        if heard is None:
            return
        if heard.mean_logprob < DOUBTED_LOGPROB and clearing.is_noisy(sound):
            yield None
            same = msgspec.structs.replace(wanted, languages=(heard.language,), known="")
            other = yield from self._understand(clearing.cleared(sound), same)
            if other is not None and other.mean_logprob > heard.mean_logprob:
                heard = replace(other, sure=heard.sure)
        yield {
            "text": self._vocabulary.decode(heard.tokens),
            "tokens": [self._vocabulary.bytes_of(token) for token in heard.tokens],
            "logprobs": heard.logprobs,
            "no_speech": heard.no_speech,
            "language": heard.language,
            "sure": heard.sure,
        }

    def _understand(self, sound: Floats, wanted: WhisperTask) -> Generator[None, None, _Heard | None]:
        """Return what was said, None when nobody spoke."""
        seconds = len(sound) / RATE_HZ
        heard, runs_on = None, False
        for context_s, span_s in views(seconds, prompted=bool(wanted.prompt.strip())):
            if heard is not None:
                yield None  # seeing less is what makes it loop, as a rule
            encoded = self._encode(sound, context_s) if span_s == context_s else self._encode_speech(sound, span_s)
            yield None
            heard = self._hear(encoded, wanted, seconds)
            again = None
            if span_s < context_s:
                again = doubt.said_again(heard.tokens)
                if again is not None and self._is_over(heard, again, sound):
                    heard = heard.until(again)
                again = doubt.said_again(heard.tokens, doubt.LEAST_DOUBTED)
            text = self._vocabulary.decode(heard.tokens)
            runs_on = doubt.runs_on(text, heard.tokens, heard.limit)
            if doubt.is_made_up(text, heard.no_speech, heard.mean_logprob, running_on=runs_on):
                return None
            if not runs_on and again is None:
                return heard
        assert heard is not None
        kept = doubt.end_of_sense(heard.tokens) if runs_on else len(heard.tokens)
        return heard.until(kept) if kept < len(heard.tokens) else heard

    def _is_over(self, heard: _Heard, place: int, sound: Floats) -> bool:
        """Say whether all was said before a place, where it begins once more."""
        begun = self._vocabulary.decode(heard.tokens[:place])
        return doubt.is_over(begun, heard.ends[place], len(heard.tokens) / clearing.spoken_s(sound))

    def _encode(self, sound: Floats, context_s: float) -> Any:
        picture = log_mel(sound, round(context_s * FRAMES_A_SECOND), self._model.n_mels)
        return self._model.encode(self._ct2.StorageView.from_array(picture[None]))

    def _encode_speech(self, sound: Floats, span_s: float) -> Any:
        """Return the short context, of which only the beginning is encoded."""
        speech = np.asarray(self._encode(sound, span_s))
        whole = np.concatenate([speech, self._silence[:, speech.shape[1] :]], axis=1)
        return self._ct2.StorageView.from_array(whole)

    def _hear(self, encoded: Any, wanted: WhisperTask, seconds: float) -> _Heard:
        """Return the words in the language that is known, unless they are better in the one that is spoken."""
        if not wanted.known or not self._multilingual:
            language, probability = self._language(encoded, wanted.languages)
            heard = self._decode(encoded, language, wanted.prompt, seconds)
            return replace(heard, sure=seconds >= LANGUAGE_S and probability >= SURE)
        heard = self._decode(encoded, wanted.known, wanted.prompt, seconds)
        if heard.mean_logprob >= FOREIGN_LOGPROB:
            return heard
        language, probability = self._language(encoded, wanted.languages)
        if language == wanted.known or probability < CERTAIN:
            return heard
        other = self._decode(encoded, language, wanted.prompt, seconds)
        return replace(other, sure=True) if other.mean_logprob > heard.mean_logprob else heard

    def _language(self, encoded: Any, allowed: tuple[str, ...]) -> tuple[str, float]:
        """Return the language that is spoken, and how probable that is."""
        if not self._multilingual:
            return "en", 1.0
        if len(allowed) == 1:
            return allowed[0], 1.0
        (found,) = self._model.detect_language(encoded)
        for mark, probability in found:
            code = mark.strip("<|>")
            if not allowed or code in allowed:
                return code, probability
        return "en", 0.0

    def _decode(self, encoded: Any, language: str, prompt: str, seconds: float) -> _Heard:
        mark = self._vocabulary.mark
        before = self._vocabulary.encode(" " + prompt.strip())[-PROMPT_TOKENS:] if prompt.strip() else []
        start = [mark(PREVIOUS), *before] if before else []
        start.append(mark(START))
        if self._multilingual:
            start += [mark(f"<|{language}|>"), mark(TRANSCRIBE)]
        start.append(self._no_timestamps)
        # CTranslate2 lets the answer have half of max_length, and no more than what the prompt leaves.
        limit = min(FIRST_TOKENS + math.ceil(seconds * TOKENS_A_SECOND[self._multilingual]), MOST_TOKENS)
        (result,) = self._model.generate(
            encoded,
            [start],
            beam_size=1,
            max_length=max(2 * limit, limit + len(start)),
            return_logits_vocab=True,
            return_no_speech_prob=True,
        )
        tokens = list(result.sequences_ids[0])
        # After as many tokens as it may have there is no step in which it could end.
        end = self._vocabulary.end
        chances = [_logprobs(*step, end) for step in zip(result.logits[0], [*tokens, end], strict=False)]
        steps = [chance for chance, _ in chances]
        mean = math.fsum(steps) / len(steps) if steps else -math.inf
        ends = [over for _, over in chances]
        return _Heard(tokens, steps[: len(tokens)], ends, mean, float(result.no_speech_prob), limit, language)


def views(seconds: float, *, prompted: bool) -> list[tuple[float, float]]:
    """Return in what contexts speech may be heard, the cheapest first, and how much of each is to be encoded.

    With silence that comes ready-made, the words of a prompt count for less.
    """
    found: list[tuple[float, float]] = [(LONG_CONTEXT_S, LONG_CONTEXT_S)]
    if seconds <= SHORT_SPEECH_S:
        found.insert(0, (SHORT_CONTEXT_S, SHORT_CONTEXT_S))
        span_s = silence.span_s(seconds)
        if span_s < SHORT_CONTEXT_S and not prompted:
            found.insert(0, (SHORT_CONTEXT_S, span_s))
    return found


def _logprobs(logits: Any, *tokens: int) -> list[float]:
    """Return the log-probabilities of tokens among those that were allowed."""
    values = np.asarray(logits, dtype=np.float32)
    highest = values.max()
    total = highest + np.log(np.exp(values - highest).sum())
    return [float(values[token] - total) for token in tokens]


def load(options: dict[str, Any]) -> WhisperEngine:
    """Load the model of a folder, check it and warm it. Raises ConfigError."""
    folder = find_folder(options["whisper"])
    try:
        engine = WhisperEngine(folder)
        engine.warm()
    except (ValueError, RuntimeError, OSError) as failure:
        raise ConfigError(SETTING, f"{folder.path} cannot be used: {failure}") from failure
    return engine
