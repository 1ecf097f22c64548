"""Speech servers of the Wyoming protocol: the reference implementation as a peer, and servers that break it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from tests.socket.live import until
from tests.socket.wyoming_host import Host, raw, reference

from offhook.audio.pcm import from_bytes, to_bytes
from offhook.audio.tone import tone
from offhook.errors import ConfigError
from offhook.model import builtin
from offhook.model.cascade import Cascade
from offhook.model.interface import ModelError, Speech, SpeechToText, TextToSpeech
from offhook.model.registry import EndpointOptions, ModelOptions, choose_backend
from offhook.model.settings import BackendTable, wyoming_address
from offhook.model.wyoming_events import MAX_HEAD_BYTES
from offhook.testing.conformance import SpeechToTextConformance, TextToSpeechConformance
from offhook.wire.session import TranscriptionEcho

TURN = Speech(to_bytes(tone(1, 1000, 8000)), 8000)
LLM = EndpointOptions("http://127.0.0.1:1/v1", "m")
AWAY = "wyoming://127.0.0.1:1"


def wanted(**members: Any) -> TranscriptionEcho:
    return TranscriptionEcho(model="whisper-1", **members)


async def hear(ear: SpeechToText, speech: Speech = TURN, asked: TranscriptionEcho | None = None) -> list[str]:
    return [words.text async for words in ear.transcribe(speech, asked)]


async def speak(voice: TextToSpeech, text: str = "We open at nine.", name: str = "marin") -> list[Any]:
    return [sound async for sound in voice.speak(text, name, 1.0)]


# -- the promises


class TestWyomingEar(SpeechToTextConformance):
    heard = "at nine"

    @contextlib.asynccontextmanager
    async def make(self) -> AsyncIterator[SpeechToText]:  # type: ignore[override]
        async with reference(streams=True) as host:
            yield builtin.wyoming_ear(url=host.url)

    @contextlib.asynccontextmanager
    async def make_failing(self) -> AsyncIterator[SpeechToText]:  # type: ignore[override]
        async with reference(fails="out of memory") as host:
            yield builtin.wyoming_ear(url=host.url)


class TestWyomingVoice(TextToSpeechConformance):
    @contextlib.asynccontextmanager
    async def make(self) -> AsyncIterator[TextToSpeech]:  # type: ignore[override]
        async with reference() as host:
            yield builtin.wyoming_voice(url=host.url)

    def make_failing(self) -> TextToSpeech:
        return builtin.wyoming_voice(url=AWAY)


# -- hearing


@pytest.mark.parametrize("rate_hz", [8000, 24000, 48000])
def test_a_turn_is_heard_as_sixteen_thousand_samples_a_second(rate_hz: int) -> None:
    async def test() -> None:
        async with reference() as host:
            speech = Speech(to_bytes(tone(1, 1000, rate_hz)), rate_hz)
            assert await hear(builtin.wyoming_ear(url=host.url), speech) == ["At nine."]
            heard = from_bytes(bytes(host.heard))
            assert len(heard) == 16000
            spectrum = np.abs(np.fft.rfft(heard))
            expected = np.abs(np.fft.rfft(tone(1, 1000, 16000)))
            assert np.argmax(spectrum) == np.argmax(expected)

    asyncio.run(test())


def test_words_are_passed_on_as_they_are_streamed_and_never_twice() -> None:
    async def test() -> None:
        async with reference(streams=True, pieces=("At", " nine,", " sir.")) as host:
            assert await hear(builtin.wyoming_ear(url=host.url)) == ["At", " nine,", " sir."]

    asyncio.run(test())


@pytest.mark.parametrize(("pieces", "whole"), [((" At ni",), " At nine."), (("At ni",), " At nine.")])
def test_the_rest_of_a_transcript_is_not_lost_to_a_blank_before_it(pieces: tuple[str, ...], whole: str) -> None:
    answer = b"".join(event("transcript-chunk", text=piece) for piece in pieces) + event("transcript", text=whole)

    async def test() -> None:
        async with raw(answer) as url:
            assert await hear(builtin.wyoming_ear(url=url)) == ["At ni", "ne."]

    asyncio.run(test())


def test_what_is_known_of_the_speech_is_told_and_a_language_that_nobody_hears_is_refused() -> None:
    async def test() -> None:
        async with reference() as host:
            ear = builtin.wyoming_ear(url=host.url, model="tiny")
            await hear(ear, TURN, wanted(language="de", keywords=("Ölz",)))
            (asked,) = (event for event in host.asked if event.type == "transcribe")
            assert asked.data == {"name": "tiny", "language": "de_DE", "transcript_terms": ["Ölz"]}
            with pytest.raises(ModelError, match="does not hear 'fr'") as failure:
                await hear(ear, TURN, wanted(language="fr"))
            assert failure.value.code == "unsupported_language"
            assert sum(event.type == "describe" for event in host.asked) == 1, "it is asked once what it has"

    asyncio.run(test())


@pytest.mark.parametrize(
    ("known", "given", "asked"),
    [
        (("en", "de"), "en-US", "en"),
        (("en_GB", "en_US"), "en-US", "en_US"),
        (("en_GB", "en"), "EN-us", "en"),
        (("en_GB", "en_AU"), "en-US", "en_GB"),
        ((), "en-US", "en-US"),
    ],
)
def test_a_language_is_asked_for_in_the_words_of_the_server(known: tuple[str, ...], given: str, asked: str) -> None:
    async def test() -> None:
        async with reference(languages=known) as host:
            await hear(builtin.wyoming_ear(url=host.url), TURN, wanted(language=given))
            assert [each.data for each in host.asked if each.type == "transcribe"] == [{"language": asked}]

    asyncio.run(test())


def test_a_server_that_has_refused_a_language_is_asked_again_what_it_has() -> None:
    async def test() -> None:
        async with reference() as host:
            ear = builtin.wyoming_ear(url=host.url)
            with pytest.raises(ModelError, match="does not hear 'fr'"):
                await hear(ear, TURN, wanted(language="fr"))
            host.languages = ("en", "fr")
            assert await hear(ear, TURN, wanted(language="fr")) == ["At nine."]

    asyncio.run(test())


@pytest.mark.parametrize("how", ["away", "failing"])
def test_a_server_that_failed_is_asked_again_what_it_has(how: str) -> None:
    async def test() -> None:
        async with reference() as host:
            part: Any = builtin.wyoming_ear(url=host.url)
            await part.start()
            port, part._server.port = part._server.port, 1 if how == "away" else part._server.port
            host.fails = "out of memory" if how == "failing" else ""
            with pytest.raises(ModelError):
                await hear(part, TURN)
            assert part.report()["languages"] == ["de_DE", "en"], "it is not known to have others"
            part._server.port, host.fails, host.languages = port, "", ("en", "fr")
            assert await hear(part, TURN, wanted(language="fr")) == ["At nine."]

    asyncio.run(test())


# -- speaking


@pytest.mark.parametrize(("rate_hz", "channels"), [(22050, 1), (16000, 2), (44100, 2)])
def test_a_sentence_is_spoken_at_the_rate_of_the_server_in_one_channel(rate_hz: int, channels: int) -> None:
    async def test() -> None:
        async with reference(rate_hz=rate_hz, channels=channels) as host:
            sounds = await speak(builtin.wyoming_voice(url=host.url))
            assert {sound.rate_hz for sound in sounds} == {rate_hz}
            samples = from_bytes(b"".join(sound.pcm for sound in sounds))
            assert len(samples) == 10 * 1024
            assert set(samples.tolist()) == {1000 if channels == 1 else 1500}

    asyncio.run(test())


@pytest.mark.parametrize(
    ("settings", "name", "asked"),
    [
        ({}, "marin", None),
        ({}, "joe", {"name": "joe"}),
        ({"voice": "amy", "speaker": "3"}, "joe", {"name": "amy", "speaker": "3"}),
        ({"language": "en_US"}, "marin", {"language": "en_US"}),
        ({"language": "en-GB"}, "marin", {"language": "en_US"}),
        ({"language": "fr"}, "marin", {"language": "fr"}),
    ],
)
def test_the_voice_is_the_one_of_the_settings_or_the_session_if_the_server_has_it(
    settings: dict[str, str], name: str, asked: object
) -> None:
    async def test() -> None:
        async with reference() as host:
            await speak(builtin.wyoming_voice(url=host.url, **settings), name=name)
            (event,) = (event for event in host.asked if event.type == "synthesize")
            assert (event.data["text"], event.data.get("voice")) == ("We open at nine.", asked)

    asyncio.run(test())


def test_a_server_is_not_asked_to_say_nothing() -> None:
    async def test() -> None:
        async with reference() as host:
            assert await speak(builtin.wyoming_voice(url=host.url), " ... ") == []
            assert host.asked == []

    asyncio.run(test())


def test_whoever_stops_listening_lets_go_of_the_connection() -> None:
    async def test() -> None:
        async with reference(chunks=1000) as host:
            sounds: Any = builtin.wyoming_voice(url=host.url).speak("We open at nine.", "marin", 1.0)
            await anext(sounds)
            assert host.open == 1
            await sounds.aclose()
            await until(lambda: host.open == 0)

    asyncio.run(test())


# -- servers that are away, or no such servers


def event(kind: str, payload: bytes = b"", **data: Any) -> bytes:
    return json.dumps({"type": kind, "data": data, "payload_length": len(payload)}).encode() + b"\n" + payload


FORMAT = {"rate": 16000, "width": 2, "channels": 1}
KNOWN = event("info", tts=[])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "broke off in the middle of its answer"),
        (b"HTTP/1.1 400 Bad Request\r\n", "sent something that is no event"),
        (b"[]\n", "sent something that is no event"),
        (b"{}\n", "sent an event without a type"),
        (b'{"type": 7}\n', "sent an event without a type"),
        (b'{"type": "info", "data_length": -1}\n', "sent an event without a data_length"),
        (b'{"type": "info", "data_length": 99999999999}\n', "a data_length of 99999999999 bytes"),
        (b'{"type": "info", "payload_length": 99999999999}\n', "a payload_length of 99999999999 bytes"),
        (b'{"type": "info", "payload_length": "7"}\n', "sent an event without a payload_length"),
        (b'{"type": "info", "data_length": 9}\n{}', "sent half an event"),
        (b'{"type": "info", "data_length": 3}\n[1]', "sent something that is no event"),
        (b"x" * (MAX_HEAD_BYTES + 1), "whose head has more than"),
        (b"[" * 30000 + b"\n", "sent something that is no event"),
        (event("error", text="no\tsuch\x1b[31m voice"), "failed: no such[31m voice"),
        (event("error"), "failed: no reason given"),
        (KNOWN + event("audio-chunk", b"\0\0", rate=7999, width=2, channels=1), "cannot be played: rate '7999'"),
        (KNOWN + event("audio-chunk", b"\0\0", rate=[1], width={}, channels=[]), "sound that cannot be played"),
        (KNOWN + event("audio-chunk", b"\0\0\0", **FORMAT), "sent half a sample"),
        (KNOWN + event("audio-chunk", b"\0\0", **FORMAT), "broke off in the middle of its answer"),
        (KNOWN + b'{"type": "pong"}\n' * 1_001, "sends events without end"),
    ],
)
def test_what_is_no_answer_fails_in_words(monkeypatch: pytest.MonkeyPatch, answer: bytes, says: str) -> None:
    monkeypatch.setattr("offhook.model.wyoming.MAX_EVENTS", 1000)

    async def test() -> None:
        async with raw(answer) as url:
            with pytest.raises(ModelError) as failure:
                await speak(builtin.wyoming_voice(url=url))
            assert says in failure.value.message

    asyncio.run(test())


def test_a_server_that_only_gives_signs_of_life_is_given_up() -> None:
    async def test() -> None:
        async with raw(b'{"type": "pong"}\n', closes=False) as url:
            with pytest.raises(ModelError) as failure:
                await speak(builtin.wyoming_voice(url=url, seconds=1.5))
            assert failure.value.code == "model_timeout"

    asyncio.run(test())


def test_events_without_words_or_sound_do_not_prolong_the_time_there_is() -> None:
    async def test() -> None:
        async with asyncio.timeout(60):
            async with raw(KNOWN, again=event("audio-chunk", **FORMAT)) as url:
                with pytest.raises(ModelError) as failure:
                    await speak(builtin.wyoming_voice(url=url, seconds=1.0))
                assert failure.value.code == "model_timeout"
            async with raw(KNOWN, again=event("transcript-chunk", text="")) as url:
                with pytest.raises(ModelError) as failure:
                    await hear(builtin.wyoming_ear(url=url, seconds=1.0))
                assert failure.value.code == "model_timeout"

    asyncio.run(test())


def test_words_and_sound_without_end_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.model.wyoming.MAX_SPEECH_S", 1.0)
    monkeypatch.setattr("offhook.model.wyoming.MAX_TRANSCRIPT_CHARS", 100)

    async def test() -> None:
        async with raw(KNOWN + event("audio-chunk", bytes(3200), **FORMAT) * 20, closes=False) as url:
            with pytest.raises(ModelError, match="speaks without end"):
                await speak(builtin.wyoming_voice(url=url))
        async with raw(KNOWN + event("transcript-chunk", text="and ") * 50, closes=False) as url:
            with pytest.raises(ModelError, match="endless words"):
                await hear(builtin.wyoming_ear(url=url))

    asyncio.run(test())


def test_a_server_that_is_away_is_unavailable_and_may_come_later(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        part: Any = builtin.wyoming_voice(url=AWAY)
        await part.start()
        assert "does not answer" in caplog.text
        with pytest.raises(ModelError, match="The voice cannot be reached") as failure:
            await speak(part)
        assert failure.value.code == "model_unavailable"
        async with reference() as host:
            part._server.port = int(host.url.rpartition(":")[2])
            assert await speak(part)

    asyncio.run(test())


# -- servers of another kind


@pytest.mark.parametrize(
    ("make", "has", "says"),
    [
        (builtin.wyoming_ear, "tts", "has text to speech, no speech to text (name a server that hears"),
        (builtin.wyoming_voice, "asr", "has speech to text, no text to speech (name a server that speaks"),
    ],
)
def test_a_server_of_the_other_kind_refuses_to_start(make: Any, has: str, says: str) -> None:
    async def test() -> None:
        async with reference(services=(has,)) as host:
            part = make(url=host.url)
            with pytest.raises(ConfigError) as refusal:
                await part.start()
            assert f"url: {host.url} {says}" in str(refusal.value)
            host.services = ("asr", "tts")
            await part.start()

    asyncio.run(test())


def test_a_server_that_has_something_else_altogether_refuses_to_start() -> None:
    async def test() -> None:
        async with raw(event("info", asr=[], wake=[{"name": "w"}], **{"\x1b[31m": [1]}), closes=False) as url:
            part: Any = builtin.wyoming_ear(url=url)
            with pytest.raises(ConfigError, match=r"has wake, no speech to text \(name a server that hears"):
                await part.start()

    asyncio.run(test())


@pytest.mark.parametrize("said", [{}, {"tts": []}, {"tts": [], "asr": "yes"}, {"tts": [{"voices": []}]}])
def test_a_server_that_does_not_say_what_it_has_is_taken_at_its_word(said: dict[str, Any]) -> None:
    async def test() -> None:
        async with raw(event("info", **said) + event("audio-chunk", b"\0\0", **FORMAT) + event("audio-stop")) as url:
            part: Any = builtin.wyoming_voice(url=url)
            await part.start()
            assert await speak(part)

    asyncio.run(test())


def test_a_server_that_comes_late_and_is_of_the_other_kind_fails_in_words() -> None:
    async def test() -> None:
        async with reference(services=("asr",)) as host:
            with pytest.raises(ModelError, match="has speech to text, no text to speech"):
                await speak(builtin.wyoming_voice(url=host.url))

    asyncio.run(test())


@pytest.mark.parametrize("way", ["flag", "table"])
def test_the_refusal_of_a_server_of_the_other_kind_names_the_setting(way: str) -> None:
    async def test() -> None:
        async with reference(services=("asr",)) as host:
            if way == "flag":
                options = ModelOptions(which="scripted", llm=LLM, tts=EndpointOptions(host.url, "tts-1"))
                named = "--tts-url"
            else:
                table = BackendTable("kitchen", "wyoming", {"url": host.url}, where="x.toml: backends.kitchen")
                options = ModelOptions(
                    which="scripted", llm=LLM, orders={"tts": ("kitchen",)}, tables={"kitchen": table}
                )
                named = "x.toml: backends.kitchen.url"
            backend = choose_backend(options)
            try:
                with pytest.raises(ConfigError) as refusal:
                    await backend.start()
                assert refusal.value.key == named
            finally:
                await backend.stop()

    asyncio.run(test())


# -- the settings


@pytest.mark.parametrize(
    "url", ["wyoming://", "wyoming://host", "wyoming://host:10300/v1", "wyoming://host:99999", "wyoming://a b:1"]
)
def test_a_url_without_host_and_port_refuses_to_start(url: str) -> None:
    with pytest.raises(ConfigError, match="write it as wyoming://HOST:PORT"):
        wyoming_address("--stt-url", url)
    assert wyoming_address("--stt-url", "wyoming://[::1]:10300") == ("::1", 10300)


def test_the_flags_put_such_servers_in_the_place_of_local_parts() -> None:
    async def test(ears: Host, voices: Host) -> None:
        options = ModelOptions(
            which="scripted",
            llm=EndpointOptions("http://127.0.0.1:1/v1", "m"),
            stt=EndpointOptions(ears.url, "whisper-1"),
            tts=EndpointOptions(voices.url, "tts-1"),
            voice="amy",
        )
        backend = choose_backend(options)
        assert isinstance(backend, Cascade)
        await backend.start()
        try:
            report = backend.report()
            assert report["ear"] == {"name": ears.url, "models": 1, "languages": ["de_DE", "en"]}
            assert report["voice"] == {"name": voices.url, "models": 2, "languages": ["en_US"]}
            assert [words.text async for words in backend.transcribe(TURN, None)] == ["At nine."]
            assert [sound async for sound in backend.say("We open.", "marin", 1.0)]
            assert [e.data for e in ears.asked if e.type == "transcribe"] == [{}], "no name of another service's model"
            assert [e.data["voice"] for e in voices.asked if e.type == "synthesize"] == [{"name": "amy"}]
        finally:
            await backend.stop()

    async def whole() -> None:
        async with reference() as ears, reference() as voices:
            await test(ears, voices)

    asyncio.run(whole())
