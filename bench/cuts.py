"""What is remembered of an answer that a caller interrupts, against what the caller heard of it.

    python bench/cuts.py [--cuts 200] [--seed 1] [--speed S] [--no-ear] [--errors]

The local voice answers through the conversation engine and the audio plane, over G.711, on a clock that jumps; a caller
interrupts at a random moment. What the conversation keeps is compared, word by word, with two judges: the times of the
words (a word was heard when half of it was), and a transcript of the sound that the caller got (needs the local ear).
The bar: within one word in 95 of 100. ``--speed`` is 0.25 to 1.5; without it every answer has one of its own.
"""

# ruff: noqa: E402 - the project is found first

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src"), str(Path(__file__).resolve().parents[1])]

import numpy as np
from tests.joined import Joined as Call
from tests.memory_network import Weather
from tests.recorded import errors, plain_words

from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, to_bytes
from offhook.model.interface import Sound, Speech
from offhook.model.local.ear import EarOptions, local_ear
from offhook.model.local.pool import Urgency
from offhook.model.local.voice import Joined
from offhook.model.local.voices.speaker import Speaker
from offhook.model.sentence import SentenceCutter

BAR = 0.95
SPEEDS = (0.5, 0.75, 1.0, 1.0, 1.25, 1.5)

ANSWERS = (
    "Your appointment is on the fifth of January, in the late afternoon. Please bring your insurance card.",
    "I can transfer you to the billing department, if that is what you want. It takes a minute or two.",
    "The weather tomorrow will be sunny with a light breeze from the west. In the evening it may rain a little.",
    "Thank you for calling. Our offices are closed at the moment, but you can leave a message after the tone.",
    "There is a free slot on Thursday afternoon, or on Friday morning. Which of the two would you like to have?",
    "Unfortunately the manager is not here this week, however her colleague can see you instead.",
    "If you would like to speak with a nurse, please stay on the line and someone will be with you shortly.",
    "We are open from early in the morning until late in the evening. On Sundays we open a little later.",
)


@dataclass(frozen=True)
class Cut:
    """One interruption: what is kept of the answer, how many words were played, and what the caller heard."""

    answer: str
    kept: str
    played_words: int
    heard: Samples
    off_ms: float
    speed: float


def speak(speaker: Speaker, text: str, speed: float) -> list[Sound]:
    """Return an answer as the local voice gives it to a call: sentence by sentence, word by word."""
    sounds: list[Sound] = []
    cutter = SentenceCutter()
    for sentence in [*cutter.feed(text), cutter.flush()]:
        joined = Joined()
        pieces = [Sound(each.pcm, each.rate_hz, each.text) for each in speaker.speak(sentence, "alloy", speed)]
        sounds += [sound for sound in (*map(joined.add, pieces), joined.last()) if sound is not None]
    return sounds


def interrupt(sounds: list[Sound], answer: str, speed: float, chance: random.Random) -> Cut:
    """Play an answer to a caller who interrupts at a random moment."""
    weather = chance.choice([Weather(delay_ms=20), Weather(delay_ms=30, jitter_ms=40)])
    call = Call(seed=chance.randrange(1 << 30), codec=chance.choice([Codec.PCMU, Codec.PCMA]), weather=weather)
    call.answer([(sound.pcm, sound.rate_hz, sound.text) for sound in sounds])
    total_ms = sum(milliseconds(sound) for sound in sounds)
    call.run(chance.randrange(300, round(total_ms) - 300, 5))
    kept, audio_end_ms = call.interrupt()
    heard = call.heard
    return Cut(answer, kept, words_played(sounds, len(heard) / 8), heard, audio_end_ms - len(heard) / 8, speed)


def milliseconds(sound: Sound) -> float:
    return len(sound.pcm) / 2 * 1000 / sound.rate_hz


def words_played(sounds: list[Sound], heard_ms: float) -> int:
    """Count the words of which half was heard, by their times alone."""
    words, start_ms = 0, 0.0
    for sound in sounds:
        spoken = plain_words(sound.text)
        middle_ms = start_ms + milliseconds(sound) / 2
        start_ms += milliseconds(sound)
        if middle_ms > heard_ms:
            break
        words += len(spoken)
    return words


async def judge_by_ear(cuts: list[Cut], *, show: bool) -> list[int]:
    """Return by how many words what is kept differs from what Whisper hears in the caller's sound."""
    ear = local_ear(EarOptions())
    await ear.start()
    off = []
    try:
        for cut in cuts:
            hearing = ear.hear(Speech(to_bytes(cut.heard), 8000), None, Urgency.AWAITED)
            heard = "".join([words.text async for words in hearing.words()])
            off.append(ends_apart(heard, cut))
            if show and abs(off[-1]) > 1:
                print(f"  {off[-1]:+d} at {cut.speed}: kept  {cut.kept}\n        heard {heard}")
    finally:
        await ear.stop()
    return off


def ends_apart(heard: str, cut: Cut) -> int:
    """Return how many words of the answer the kept ones are ahead of the ones heard.

    Words that were misheard in the middle are the ear's affair: it says how far the answer came.
    """
    words, kept = plain_words(cut.answer), len(plain_words(cut.kept))
    ends = [errors(heard, " ".join(words[:count]))[0] for count in range(len(words) + 1)]
    best = min(ends)
    return min((kept - count for count, wrong in enumerate(ends) if wrong == best), key=abs)


def report(name: str, off: list[int]) -> bool:
    share = sum(abs(words) <= 1 for words in off) / len(off)
    counts = ", ".join(f"{words:+d}: {count}" for words, count in sorted(Counter(off).items()))
    print(f"{name:24} {100 * share:5.1f} %  (bar {100 * BAR:.0f} %)  {'holds' if share >= BAR else 'FAILS'}   {counts}")
    return share >= BAR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, help="of all answers")
    parser.add_argument("--no-ear", action="store_true", help="judge by the times of the words alone")
    parser.add_argument("--errors", action="store_true", help="show where the ear disagrees")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    speaker = Speaker()
    speaker.load()
    cuts = []
    for number in range(arguments.cuts):
        answer = ANSWERS[number % len(ANSWERS)]
        speed = arguments.speed or chance.choice(SPEEDS)
        cuts.append(interrupt(speak(speaker, answer, speed), answer, speed, chance))
    print(f"{len(cuts)} interruptions, {sum(len(cut.heard) for cut in cuts) / 8000:.0f} s heard")
    off_ms = [abs(cut.off_ms) for cut in cuts]  # A cut in the silence between two sentences looks earlier than it was.
    print(f"position off by          p50 {np.median(off_ms):.0f} ms, p90 {np.quantile(off_ms, 0.9):.0f} ms")
    holds = report("within a word, by times", [len(plain_words(cut.kept)) - cut.played_words for cut in cuts])
    if not arguments.no_ear:
        off = asyncio.run(judge_by_ear(cuts, show=arguments.errors))
        holds = report("within a word, by ear", off) and holds
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
