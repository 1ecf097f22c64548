"""The local voice in its worker: every piece has sound and words, and whoever stops listening stops the work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.model.interface import ModelError, Sound
from offhook.model.local.pool import Pool, PoolOptions
from offhook.model.local.voice import Joined, LocalVoice, VoiceOptions, local_voice
from offhook.model.local.voices import assets
from offhook.wire.session import CustomVoice, Voice

needs_voice = pytest.mark.skipif(
    not assets.is_installed(), reason="needs the local voice: pip install 'offhook[local]'"
)


def with_voice(voice: LocalVoice, test: Callable[[LocalVoice], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(120):
            await voice.start()
            try:
                await test(voice)
            finally:
                await voice.stop()

    asyncio.run(whole())


def talker(*, folder: bool = False) -> LocalVoice:
    pool = PoolOptions("text to speech", "tests.socket.worker_engine:talker", restart_delays_s=(0.0,))
    return LocalVoice(Pool(pool), folder=folder)


async def spoken(voice: LocalVoice, text: str, name: Voice = "alloy", speed: float = 1.0) -> list[Sound]:
    return [sound async for sound in voice.speak(text, name, speed)]


# -- pieces


@given(st.lists(st.tuples(st.sampled_from([b"", b"\1\0", b"\1\0\2\0"]), st.sampled_from(["", " ", "one", "two."]))))
def test_all_words_and_all_sound_come_out_and_none_without_the_other(pieces: list[tuple[bytes, str]]) -> None:
    joined = Joined()
    out = [joined.add(Sound(pcm, 8000, text)) for pcm, text in pieces]
    found = [sound for sound in [*out, joined.last()] if sound is not None]
    assert all(sound.pcm and sound.text for sound in found)
    text = "".join(text for _, text in pieces)
    pcm = b"".join(pcm for pcm, _ in pieces)
    if text and pcm:
        assert "".join(sound.text for sound in found) == text
        assert b"".join(sound.pcm for sound in found) == pcm
    else:
        assert not found


def test_silent_words_go_with_the_sound_after_them_and_the_last_with_the_one_before() -> None:
    async def test(voice: LocalVoice) -> None:
        assert [sound.text for sound in await spoken(voice, " one two  ")] == [" one", " two  "]
        assert await spoken(voice, "  ") == []

    with_voice(talker(), test)


# -- requests


def test_whoever_stops_listening_stops_the_work() -> None:
    async def test(voice: LocalVoice) -> None:
        async with aclosing(cast("Any", voice.speak("hold", "alloy", 1.0))) as sounds:
            await anext(sounds)
        assert voice.counters.cancelled == 1
        assert len(await spoken(voice, "Hello there.")) == 2, "the worker is free again"

    with_voice(talker(), test)


def test_a_worker_that_dies_fails_its_sentence_and_the_next_one_is_spoken() -> None:
    async def test(voice: LocalVoice) -> None:
        with pytest.raises(ModelError) as caught:
            await spoken(voice, "hello die")
        assert caught.value.code == "model_worker_died"
        assert [sound.text for sound in await spoken(voice, "Hello.")] == ["Hello."]

    with_voice(talker(), test)


@pytest.mark.parametrize(
    ("name", "folder", "asked"),
    [
        ("marin", False, "marin"),
        (CustomVoice(id="voice_1"), False, "voice_1"),
        ("emma", False, "alloy"),
        ("emma", True, "emma"),
        ("de-DE", False, "de-DE"),
    ],
)
def test_a_voice_file_is_asked_for_only_where_there_is_a_folder(name: Voice, folder: bool, asked: str) -> None:
    async def test(voice: LocalVoice) -> None:
        (sound,) = await spoken(voice, "asked", name, 1.25)
        assert sound.text == f"{asked} 1.25"

    with_voice(talker(folder=folder), test)


# -- the voice itself


@needs_voice
def test_a_sentence_is_spoken_word_by_word() -> None:
    text = "Good morning, how can I help you? \U0001f642"

    async def test(voice: LocalVoice) -> None:
        sounds = await spoken(voice, text, "coral")
        assert "".join(sound.text for sound in sounds) == text
        assert len(sounds) >= 7
        assert all(sound.text and sound.pcm for sound in sounds)
        loud = np.frombuffer(b"".join(sound.pcm for sound in sounds), "<i2").astype(float)
        assert loud.std() > 500
        slow = await spoken(voice, text, "coral", 0.5)
        assert sum(len(sound.pcm) for sound in slow) > 1.7 * len(loud) * 2
        assert await spoken(voice, "\U0001f642") == []
        assert voice.name == "local voice heart"
        assert len(voice.pids) == 1

    with_voice(local_voice(VoiceOptions()), test)


@needs_voice
def test_a_voice_file_that_is_missing_is_named(tmp_path: Path) -> None:
    async def test(voice: LocalVoice) -> None:
        with pytest.raises(ModelError, match="bf_emma") as caught:
            await spoken(voice, "Hello.", "emma")
        assert caught.value.code == "voice_unavailable"
        assert await spoken(voice, "Hello.", "nobody knows")

    with_voice(local_voice(VoiceOptions(tmp_path)), test)
