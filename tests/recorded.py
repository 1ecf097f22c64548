"""Speech with its words, for tests and benchmarks of what hears it. Nothing of it is in the repository.

``recordings`` are Debian's Asterisk prompts (CC-BY-SA-3.0) where they are unpacked; ``fetch`` gets them without root
where apt can. ``said`` is the local voice, which is there whenever local speech is.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.pcm import Samples, saturate
from offhook.audio.resample import resample
from offhook.audio.wav import read_wav

ROOT = Path(__file__).parents[1]
FETCHED = ROOT / ".demo" / "recorded"
# Unpacked by ``fetch``, by scripts/demo, or installed.
PLACES = (FETCHED, ROOT / ".demo" / "voices", Path("/"))
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
WORDS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
PACKAGES = ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-en")
MISSING = "recorded speech is not here: python bench/local_stt.py fetches it (asterisk-core-sounds-en-wav)"

_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@dataclass(frozen=True)
class Recording:
    """One prompt of 8 kHz as a telephone carries it, and what it says."""

    name: str
    words: str
    samples: Samples


def fetch() -> None:
    """Download and unpack the recordings, as anybody."""
    if any((place / SOUNDS).is_dir() and (place / WORDS).is_file() for place in PLACES) or not shutil.which("apt-get"):
        return
    FETCHED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1", "download", *PACKAGES]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, FETCHED], check=True)


def recordings(most: int = 100) -> list[Recording]:
    """Return whole sentences of five words and more, spread over all there are; none when nothing is there."""
    sounds = next((place / SOUNDS for place in PLACES if (place / SOUNDS).is_dir()), None)
    words = next((place / WORDS for place in PLACES if (place / WORDS).is_file()), None)
    if sounds is None or words is None:
        return []
    found = []
    for line in gzip.decompress(words.read_bytes()).decode().splitlines():
        name, colon, said = line.partition(":")
        path = sounds / f"{name}.wav"
        if colon and 5 <= len(said.split()) <= 30 and not re.search(r"[\[(*#/@]|www|spy", line) and path.is_file():
            found.append((name, said.strip(), path))
    step = max(len(found) / most, 1.0)
    chosen = [found[int(number * step)] for number in range(min(most, len(found)))]
    return [Recording(name, said, over_telephone(read_wav(path.read_bytes()).mono)) for name, said, path in chosen]


def over_telephone(samples: Samples) -> Samples:
    """Return samples as they are after G.711."""
    return g711.decode(g711.encode(samples, g711.Codec.PCMU), g711.Codec.PCMU)


@cache
def _speaker() -> Any:
    return pytest.importorskip("hibari", reason="hibari-tts is not installed").Hibari()


@cache
def said(text: str) -> Samples:
    """Return a sentence of the local voice as a telephone carries it; skips the test where there is none."""
    sound = saturate(np.asarray(_speaker()(text), dtype=np.float64) * 32767)
    return over_telephone(resample(sound, 24000, 8000))


def plain_words(text: str) -> list[str]:
    """Return the words of a text as they are compared: small, without marks, numbers in letters."""
    text = re.sub("['\u2019]", "", text.lower().replace("&", " and "))
    words = re.sub(r"[^\w]+", " ", text).split()
    return [_NUMBERS[int(word)] if word.isdigit() and int(word) < len(_NUMBERS) else word for word in words]


def errors(heard: str, said: str) -> tuple[int, int]:
    """Return how many words are wrong, missing or too many, and how many were said."""
    one, two = plain_words(heard), plain_words(said)
    row = list(range(len(two) + 1))
    for place, word in enumerate(one, 1):
        before, row[0] = row[0], place
        for number, other in enumerate(two, 1):
            before, row[number] = row[number], min(row[number] + 1, row[number - 1] + 1, before + (word != other))
    return row[-1], len(two)
