"""How soon a turn ends under semantic_vad, when the caller has finished and when not.

    python bench/turns.py [--clips 40] [--eagerness auto] [--detector NAME[:PATH]] [--decode-ms MS] [--errors]

Recorded sentences, as a telephone carries them, are said whole, cut after a word that asks for more ("the", "to"), and
cut after any word, each with silence behind it: through the audio plane with its voice detector, the local ear and the
conversation engine, on a clock that jumps. What the ear takes of the processor is added to that clock, or
``--decode-ms``.

The bars: 90 of 100 whole ones end within 400 ms of silence, and at most 10 of 100 that were cut where more has to come.
The table is the curve between the two: the share of turns that a silence of so many milliseconds ends.
"""

# ruff: noqa: E402 - the project is found first

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src"), str(Path(__file__).resolve().parents[1])]

import numpy as np
from tests.joined import Joined, Understood
from tests.recorded import MISSING, Recording, fetch, over_telephone, recordings

from offhook.audio.level import STEP_MS, levels_dbfs
from offhook.audio.pcm import Samples, silence, to_bytes
from offhook.audio.resample import resample
from offhook.media.vad import load_silero
from offhook.model.local.whisper import engine as whisper
from offhook.model.local.whisper.features import FRAMES_A_SECOND, RATE_HZ, log_mel
from offhook.model.turn_end import load_turn_end
from offhook.session.options import EngineOptions
from offhook.session.reading import read
from offhook.testing.hearing import find_utterances

SOON_MS = 400
WHOLE_BAR, CUT_BAR = 0.90, 0.10
SILENCES_MS = (200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 1000, 1300, 1700)
LEAST_WORDS = 3
GOES_ON = ("...", "\u2026", ":")
SILENCE_MS = 9000
LEAD_MS = 400


@dataclass(frozen=True)
class Word:
    """A word of a recording, and where it ends."""

    text: str
    end_ms: int


@dataclass
class Outcome:
    """How long the silence was that ended each turn of one kind; how the words read, and how long the ear needed."""

    name: str
    silences_ms: list[float] = field(default_factory=list)
    readings: Counter[str] = field(default_factory=Counter)
    decode_ms: list[float] = field(default_factory=list)
    split: int = 0

    def share(self, silence_ms: float) -> float:
        return sum(each <= silence_ms for each in self.silences_ms) / len(self.silences_ms)


class Ear:
    """Whisper in this process, with the times of its words."""

    def __init__(self) -> None:
        self._engine = whisper.load({"whisper": "tiny.en"})

    def hear(self, samples: Samples) -> Understood:
        began = time.process_time()
        served = self._engine.serve({"pcm": to_bytes(samples), "rate_hz": 8000})
        results = [result for result in served if result is not None]
        text = "".join(result["text"] for result in results).strip()
        logprobs = [logprob for result in results for logprob in result["logprobs"]]
        sure = float(np.exp(min(logprobs[-2:]))) if logprobs else None
        return Understood(text, sure, time.process_time() - began)

    def words(self, samples: Samples) -> list[Word]:
        """Return the words of a recording with the places where they end."""
        engine: Any = self._engine
        sound = resample(samples, 8000, RATE_HZ).astype(np.float32) / 32768
        context_s = whisper.SHORT_CONTEXT_S if len(sound) <= whisper.SHORT_SPEECH_S * RATE_HZ else 30
        encoded = engine._encode(sound, context_s)
        heard = engine._decode(encoded, "en", "", len(sound) / RATE_HZ)
        picture = log_mel(sound, context_s * FRAMES_A_SECOND)
        view = engine._ct2.StorageView.from_array(picture[None])
        start = [engine._vocabulary.mark(whisper.START)]
        (found,) = engine._model.align(view, start, [heard.tokens], len(sound) // 160)
        ends: dict[int, int] = {}
        for token, place in found.alignments:
            ends[token] = (place + 1) * 20
        words: list[Word] = []
        for number, token in enumerate(heard.tokens):
            text = engine._vocabulary.bytes_of(token).decode(errors="replace")
            if text.startswith(" ") or not words:
                words.append(Word(text.strip(), ends.get(number, 0)))
            else:
                words[-1] = Word(words[-1].text + text, ends.get(number, words[-1].end_ms))
        return words


# Independent of the rule that is measured: words that nobody ends a sentence with.
_MORE = (
    "the a an your my our their of to for and or if that with from at by as is are was has have will can may than into"
)
_ASKING_FOR_MORE = frozenset(_MORE.split())
# Word times come from the decoder's attention, which is late by up to this: the boundary is where it is quietest.
_LATE_MS = 200


def boundary_ms(samples: Samples, word: Word) -> int:
    """Return where a recording is cut after a word."""
    first = max(word.end_ms - _LATE_MS, 0) // STEP_MS
    levels = levels_dbfs(samples, STEP_MS * 8)[first : word.end_ms // STEP_MS + 2]
    return (first + int(np.argmin(levels))) * STEP_MS


def cut_places(words: list[Word], *, after_function_words: bool) -> list[Word]:
    """Return the words after which a recording can be cut: not where a sentence in it ends anyway."""
    inner = [word for word in words[LEAST_WORDS - 1 : -1] if not word.text.endswith((".", "?", "!"))]
    if not after_function_words:
        return inner
    return [word for word in inner if word.text.strip(",").lower() in _ASKING_FOR_MORE]


def end_of_turn(
    ear: Callable[[Samples], Understood], detector: Any, sound: Samples, arguments: argparse.Namespace
) -> tuple[float, bool]:
    """Say something to a server; return the silence that ended its last turn, and whether there were others before."""
    detection = {"type": "semantic_vad", "eagerness": arguments.eagerness, "create_response": False}
    call = Joined(
        detector=load_silero(),
        hear=ear,
        judge=detector,
        options=EngineOptions(needs_transcripts=False, hears_early=True),
        audio={"input": {"turn_detection": detection}},
    )
    call.run(LEAD_MS)
    began_ms = (call.phone.next_at - 1000.0) * 1000 - 20
    call.phone.say(sound)
    ended_ms = began_ms + find_utterances(sound)[-1].end_ms
    stopped = -1
    while stopped < ended_ms - 150:
        call.run(20)
        stops = [event["audio_end_ms"] for event in call.talk.sent if event["type"].endswith("speech_stopped")]
        stopped = stops[-1] if stops else -1
        if call.talk.input_ms > ended_ms + SILENCE_MS:
            return float(SILENCE_MS), False
    return stopped - ended_ms, len(stops) > 1


def measure(kind: Outcome, sound: Samples, ear: Ear, detector: Any, arguments: argparse.Namespace) -> str:
    """Let a sound be a turn; return what was read of it in the end."""
    texts: list[str] = []

    def hear(samples: Samples) -> Understood:
        understood = ear.hear(samples)
        texts.append(f"{understood.text} ({understood.sure or 0:.2f})")
        kind.decode_ms.append(understood.needed_s * 1000)
        needed_s = (arguments.decode_ms or kind.decode_ms[-1]) / 1000
        return Understood(understood.text, understood.sure, needed_s)

    silence_ms, split = end_of_turn(hear, detector, sound, arguments)
    kind.silences_ms.append(silence_ms)
    kind.split += split
    text = texts[-1] if texts else ""
    kind.readings[read(text.rpartition(" ")[0]).name.lower()] += 1
    return text


def sounds_of(clip: Recording, ear: Ear, chance: random.Random) -> list[tuple[int, Samples]]:
    """Return a recording whole and cut, each with the number of its kind."""
    words = ear.words(clip.samples)
    # A prompt that is written with "..." or ":" at its end is read to be gone on with, and is no whole turn.
    sounds = [] if clip.words.endswith(GOES_ON) else [(0, clip.samples)]
    for kind in (1, 2):
        places = cut_places(words, after_function_words=kind == 1)
        if places:
            sounds.append((kind, clip.samples[: boundary_ms(clip.samples, chance.choice(places)) * 8]))
    return [(kind, over_telephone(np.concatenate([sound, silence(160)]))) for kind, sound in sounds]


def report(kinds: list[Outcome]) -> bool:
    whole, cut, anywhere = kinds
    print(f"{'silence':>10}" + "".join(f"{kind.name:>24}" for kind in kinds))
    for silence_ms in SILENCES_MS:
        print(f"{silence_ms:>7} ms" + "".join(f"{100 * kind.share(silence_ms):22.0f} %" for kind in kinds))
    for kind in kinds:
        readings = ", ".join(f"{name} {count}" for name, count in kind.readings.most_common())
        decode = f"p50 {np.median(kind.decode_ms):.0f}, p90 {np.quantile(kind.decode_ms, 0.9):.0f} ms"
        print(f"{kind.name}: {len(kind.silences_ms)} turns, read {readings}; ended inside {kind.split}; ear {decode}")
    holds = True
    for name, share, bar, good in (
        (f"whole ones ended within {SOON_MS} ms", whole.share(SOON_MS), WHOLE_BAR, whole.share(SOON_MS) >= WHOLE_BAR),
        ("cut ones ended as soon", cut.share(SOON_MS), CUT_BAR, cut.share(SOON_MS) <= CUT_BAR),
        ("cut anywhere, ended as soon", anywhere.share(SOON_MS), CUT_BAR, anywhere.share(SOON_MS) <= CUT_BAR),
    ):
        print(f"{name:32} {100 * share:5.1f} %  (bar {100 * bar:.0f} %)  {'holds' if good else 'FAILS'}")
        holds = holds and good
    return holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--eagerness", default="auto", choices=["low", "medium", "high", "auto"])
    parser.add_argument("--detector", help="judges by sound, beside the words", metavar="NAME[:PATH]")
    parser.add_argument("--decode-ms", type=float, help="what the ear needs, instead of what it needs here")
    parser.add_argument("--errors", action="store_true", help="show the turns on the wrong side")
    arguments = parser.parse_args()
    fetch()
    clips = recordings(arguments.clips)
    if not clips:
        sys.exit(MISSING)
    ear, chance = Ear(), random.Random(1)
    detector = load_turn_end(arguments.detector) if arguments.detector else None
    judge = None if detector is None else lambda samples: detector.probability(samples, 8000)
    kinds = [Outcome("whole"), Outcome("cut after the, to, ..."), Outcome("cut anywhere")]
    for clip in clips:
        for number, sound in sounds_of(clip, ear, chance):
            kind = kinds[number]
            text = measure(kind, sound, ear, judge, arguments)
            soon = kind.silences_ms[-1] <= SOON_MS
            if arguments.errors and soon is (number > 0):
                print(f"  {kind.name}, {kind.silences_ms[-1]:.0f} ms: {text}")
    sys.exit(0 if report(kinds) else 1)


if __name__ == "__main__":
    main()
