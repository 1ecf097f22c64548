"""Ears and voices over real HTTP: what they are asked, how they stream, and every way in which they fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from tests.socket.model_server import ModelHost, Reply, serve

from offhook.audio.pcm import from_bytes
from offhook.audio.wav import read_wav, write_wav
from offhook.model.http import ModelServer
from offhook.model.interface import ModelError, Segment, Sound, Speech, Words
from offhook.model.openai_audio import SpokenOverHttp, Transcriptions
from offhook.wire.session import TranscriptionEcho


async def collect(outputs: AsyncIterator[Any]) -> list[Any]:
    return [output async for output in outputs]


def with_server(
    reply: Reply, use: Callable[[ModelServer, ModelHost], Coroutine[Any, Any, None]], timeout_s: float = 20
) -> None:
    async def talk() -> None:
        async with serve(lambda _: reply) as host:
            server = ModelServer("speech server", host.url, None, timeout_s)
            await server.start()
            try:
                await use(server, host)
            finally:
                await server.stop()

    asyncio.run(talk())


def test_a_turn_is_sent_as_a_wav_file_and_comes_back_as_words() -> None:
    async def use(server: ModelServer, host: ModelHost) -> None:
        hearing = Transcriptions(server, "whisper-1")
        wanted = TranscriptionEcho(model="x", language="en", prompt="names")
        words = await collect(hearing.transcribe(Speech(b"\1\0" * 8000, 8000), wanted))
        assert words == [Words("Hello.")]
        body = host.received[0].body
        assert b'name="language"\r\n\r\nen\r\n' in body
        wav = read_wav(body[body.index(b"RIFF") :])
        assert wav.rate_hz == 8000

    with_server(Reply([b'{"text": " Hello. "}'], content_type="application/json"), use)


def member(name: str, value: str) -> bytes:
    return f'name="{name}"\r\n\r\n{value}\r\n'.encode()


@pytest.mark.parametrize(
    ("wanted", "language", "prompt"),
    [
        (TranscriptionEcho(), None, None),
        (TranscriptionEcho(keywords=("Zoë", "offhook")), None, "Zoë, offhook"),
        (TranscriptionEcho(prompt="A clinic.", keywords=("Zoë",)), None, "A clinic. Zoë"),
        (TranscriptionEcho(languages=("de",)), "de", None),
        (TranscriptionEcho(languages=("de", "en")), None, None),
        (TranscriptionEcho(language="fr", languages=("de",)), "fr", None),
    ],
)
def test_a_recogniser_is_told_the_keywords_and_the_language_if_there_is_one(
    wanted: TranscriptionEcho, language: str | None, prompt: str | None
) -> None:
    async def use(server: ModelServer, host: ModelHost) -> None:
        await collect(Transcriptions(server, "whisper-1").transcribe(Speech(b"\1\0" * 80, 8000), wanted))
        body = host.received[0].body
        for name, value in (("language", language), ("prompt", prompt)):
            assert (f'name="{name}"'.encode() in body) is (value is not None)
            assert value is None or member(name, value) in body

    with_server(Reply([b'{"text": "Hello."}'], content_type="application/json"), use)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"words": 1}', b"<html>"])
def test_a_recogniser_that_sends_no_words_fails(body: bytes) -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        with pytest.raises(ModelError) as caught:
            await collect(Transcriptions(server, "m").transcribe(Speech(b"", 8000), None))
        assert caught.value.code == "transcription_error"

    with_server(Reply([body], content_type="application/json"), use)


def events(*each: object, done: bool = True) -> Reply:
    lines = [f"data: {json.dumps(event)}\n\n".encode() for event in each]
    return Reply([*lines, b"data: [DONE]\n\n"] if done else lines, content_type="text/event-stream; charset=utf-8")


def grew(text: str) -> dict[str, object]:
    return {"type": "transcript.text.delta", "delta": text}


ENDED = {"type": "transcript.text.done", "text": "At nine, sir.", "usage": {"type": "tokens"}}
CHUNK = {"object": "transcription.chunk", "choices": [{"delta": {"content": " At"}}]}
LAST_CHUNK = {"object": "transcription.chunk", "choices": [{"delta": {"content": " nine."}, "finish_reason": "stop"}]}


COUNTED = {
    "usage": {
        "type": "tokens",
        "input_tokens": 14,
        "output_tokens": 5,
        "total_tokens": 19,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    }
}


@pytest.mark.parametrize(
    "reply",
    [
        Reply([json.dumps({"text": "At nine."} | COUNTED).encode()], content_type="application/json"),
        events(grew("At nine."), ENDED | COUNTED),
        events(ENDED | COUNTED),
    ],
    ids=["whole", "streamed", "the end alone"],
)
def test_the_tokens_of_a_transcript_are_told_where_the_server_counts_them(reply: Reply) -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        words = await collect(Transcriptions(server, "m").transcribe(Speech(b"", 8000), None))
        counted = words[-1].usage
        assert counted is not None
        assert (counted.input_tokens, counted.output_tokens, counted.total_tokens) == (14, 5, 19)
        assert counted.input_token_details == {"text_tokens": 4, "audio_tokens": 10}

    with_server(reply, use)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (events(grew(" At"), grew(" nine,"), grew(" sir."), ENDED, done=False), ["At", " nine,", " sir."]),
        (events(ENDED), ["At nine, sir."]),
        (events({"type": "transcript.text.segment", "text": "no"}, grew("At"), ENDED), ["At"]),
        (events(CHUNK, LAST_CHUNK), ["At", " nine."]),
        (events({"text": "At nine,"}, {"text": "sir."}, done=False), ["At nine,", " sir."]),
        (events(ENDED | {"text": " "}), []),
        (Reply([b" ", b'{"text": "At nine."}'], content_type="text/event-stream"), ["At nine."]),
        (Reply(events(grew("At"), ENDED).pieces, content_type="text/plain"), ["At"]),
    ],
    ids=["deltas", "the end alone", "unknown events", "vLLM", "segments", "silence", "no stream", "of another type"],
)
def test_a_transcript_is_passed_on_as_it_is_streamed(reply: Reply, expected: list[str]) -> None:
    async def use(server: ModelServer, host: ModelHost) -> None:
        words = await collect(Transcriptions(server, "m").transcribe(Speech(b"", 8000), None))
        assert [each.text for each in words] == expected
        assert b'name="stream"\r\n\r\ntrue\r\n' in host.received[0].body

    with_server(reply, use)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (events(grew("At"), done=False), "broke off in the middle of a transcript"),
        (events(grew("At"), {"error": {"message": "out of memory"}}), "The transcription failed: out of memory"),
        (events([]), "sent no transcript"),
        (events(*[grew("and " * 20_000)] * 20), "sent endless words"),
        (Reply([b"data: " + b"x" * (1 << 21)]), "sent a line of more than"),
        (Reply([b'{"text": "' + b"x" * (1 << 21)], content_type="application/json"), "sent endless words"),
    ],
    ids=["cut", "error", "no object", "endless", "a line without end", "endless json"],
)
def test_a_streamed_transcript_that_fails_is_told_in_words(reply: Reply, says: str) -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        with pytest.raises(ModelError, match=says):
            await collect(Transcriptions(server, "m").transcribe(Speech(b"", 8000), None))

    with_server(reply, use)


def test_a_recogniser_without_streams_is_asked_for_one_only_once() -> None:
    plain = Reply([b'{"text": "At nine."}'], content_type="application/json")
    refusal = Reply([b'{"detail": "extra fields not permitted"}'], status=422, content_type="application/json")
    broken = Reply([b'{"error": "out of memory"}'], status=500, content_type="application/json")
    replies = [broken, refusal, refusal, refusal, plain, plain]

    async def test() -> None:
        async with serve(lambda _: replies.pop(0)) as host:
            server = ModelServer("speech recogniser", host.url, None, 5.0)
            await server.start()
            try:
                ear = Transcriptions(server, "m")
                with pytest.raises(ModelError, match="out of memory"):
                    await collect(ear.transcribe(Speech(b"", 8000), None))
                with pytest.raises(ModelError, match="not permitted"):
                    await collect(ear.transcribe(Speech(b"", 8000), None))
                for _ in range(2):
                    assert await collect(ear.transcribe(Speech(b"", 8000), None)) == [Words("At nine.")]
                streams = [b'name="stream"' in received.body for received in host.received]
                assert streams == [True, True, False, True, False, False]
            finally:
                await server.stop()

    asyncio.run(test())


BY_SPEAKERS = TranscriptionEcho(model="gpt-4o-transcribe-diarize", prompt="names", language="en")
SPOKEN = [
    {"type": "transcript.text.segment", "id": "s1", "start": 0.0, "end": 1.25, "text": " At nine?", "speaker": "A"},
    {"type": "transcript.text.segment", "id": "s2", "start": 1.5, "end": 2, "text": "Yes.", "speaker": "B"},
]
SEGMENTS = (Segment("At nine?", "A", 0.0, 1.25), Segment("Yes.", "B", 1.5, 2.0))


@pytest.mark.parametrize(
    "reply",
    [
        Reply([json.dumps({"text": "At nine? Yes.", "segments": SPOKEN}).encode()], content_type="application/json"),
        events(grew("At nine?"), SPOKEN[0], grew(" Yes."), SPOKEN[1], {"type": "transcript.text.done", "text": "x"}),
        events(*SPOKEN, {"type": "transcript.text.done", "text": "At nine? Yes."}),
    ],
    ids=["whole", "streamed", "segments alone"],
)
def test_who_said_what_is_asked_for_and_passed_on(reply: Reply) -> None:
    async def use(server: ModelServer, host: ModelHost) -> None:
        words = await collect(Transcriptions(server, "m").transcribe(Speech(b"", 8000), BY_SPEAKERS))
        assert "".join(each.text for each in words) == "At nine? Yes."
        assert tuple(segment for each in words for segment in each.segments) == SEGMENTS
        body = host.received[0].body
        for name, value in (("response_format", "diarized_json"), ("chunking_strategy", "auto"), ("language", "en")):
            assert member(name, value) in body
        assert b'name="prompt"' not in body, "these models take none"

    with_server(reply, use)


@pytest.mark.parametrize(
    "odd",
    [None, {}, ["At nine?"], [{"text": "At nine?", "start": 0.0, "end": 1.0}], [SPOKEN[0] | {"start": 9}]]
    + [[SPOKEN[0] | {name: value}] for name, value in (("speaker", 1), ("text", " "), ("start", -1), ("end", "1"))],
)
def test_segments_that_are_none_are_passed_over(odd: object) -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        words = await collect(Transcriptions(server, "m").transcribe(Speech(b"", 8000), BY_SPEAKERS))
        assert words == [Words("At nine?")]

    with_server(Reply([json.dumps({"text": "At nine?", "segments": odd}).encode()]), use)


def test_a_recogniser_that_tells_nobody_apart_is_asked_for_that_only_once() -> None:
    refusal = Reply([b'{"detail": "response_format"}'], status=400, content_type="application/json")

    def answer(received: Any) -> Reply:
        return refusal if b"diarized_json" in received.body else events(grew("At nine."), ENDED)

    async def test() -> None:
        async with serve(answer) as host:
            server = ModelServer("speech recogniser", host.url, None, 20.0)
            await server.start()
            try:
                ear = Transcriptions(server, "m")
                for wanted in (BY_SPEAKERS, BY_SPEAKERS, None):
                    assert (await collect(ear.transcribe(Speech(b"", 8000), wanted)))[0] == Words("At nine.")
                asked = [(b"diarized_json" in each.body, b'name="stream"' in each.body) for each in host.received]
                assert asked == [(True, True), (True, False), (False, True), (False, True), (False, True)]
                assert member("prompt", "names") in host.received[3].body
            finally:
                await server.stop()

    asyncio.run(test())


PCM = bytes(range(256)) * 100
WAV = write_wav(from_bytes(PCM), 22050)


@pytest.mark.parametrize(
    ("reply", "rate_hz"),
    [
        (Reply([PCM], content_type="audio/pcm"), 24000),
        (Reply([PCM], content_type='audio/L16; channels=1; rate="16000"'), 16000),
        (Reply([PCM], content_type="audio/pcm;rate=44100"), 44100),
        (Reply([WAV], content_type="audio/wav"), 22050),
        (Reply([WAV[:3], WAV[3:11], WAV[11:30], WAV[30:]], content_type="audio/pcm"), 22050),
    ],
    ids=["the settings", "RFC 2586", "a parameter", "a WAV file", "a WAV file in pieces"],
)
def test_a_voice_is_played_at_the_rate_that_the_server_tells(reply: Reply, rate_hz: int) -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        sounds: list[Sound] = await collect(SpokenOverHttp(server, "m", None, 24000).speak("Hello.", "ash", 1.0))
        assert b"".join(sound.pcm for sound in sounds) == PCM
        assert {sound.rate_hz for sound in sounds} == {rate_hz}

    with_server(reply, use)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply([PCM], content_type="audio/pcm;rate=7999"), "sound of 7999 Hz"),
        (
            Reply([write_wav(from_bytes(PCM).reshape(-1, 2), 22050)], content_type="audio/wav"),
            "a WAV file of 2 channels",
        ),
        (Reply([PCM], content_type="audio/L16; rate=24000; channels=2"), "sound of 2 channels"),
        (Reply([b"RIFF\0\0\0\0WAVEjunk" + b"\xff" * 100], content_type=""), "a WAV file without sound"),
        (Reply([bytes(1 << 20)] * 20, content_type="audio/pcm;rate=8000"), "speaks without end"),
    ],
    ids=["an odd rate", "two channels", "two channels of samples", "no sound", "endless"],
)
def test_sound_that_cannot_be_played_fails_in_words(reply: Reply, says: str) -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        with pytest.raises(ModelError, match=says):
            await collect(SpokenOverHttp(server, "m", None, 24000).speak("Hello.", "ash", 1.0))

    with_server(reply, use)


def sized(size_bytes: int) -> bytes:
    """Return the file with another size of its samples in the head."""
    return WAV[:40] + size_bytes.to_bytes(4, "little") + WAV[44:]


@pytest.mark.parametrize(
    ("reply", "played"),
    [
        (Reply([WAV, b"LIST" + b"\x7f" * 400], content_type="audio/wav"), PCM),
        (Reply([WAV + b"LIST" + b"\x7f" * 400], content_type="audio/wav"), PCM),
        (Reply([WAV], content_type="audio/wav", hang=True), PCM),
        (Reply([sized(20_000)], content_type="audio/wav"), PCM[:20_000]),
        (Reply([sized(0)], content_type="audio/wav"), PCM),
        (Reply([sized(0xFFFFFFFF)], content_type="audio/wav"), PCM),
        (Reply([sized(0x7FFFFFFF)], content_type="audio/wav"), PCM),
    ],
    ids=["a list behind", "all at once", "open", "shorter", "no size", "the largest size", "the largest of an int"],
)
def test_only_the_samples_of_a_wav_file_are_played(reply: Reply, played: bytes) -> None:
    assert WAV[36:40] == b"data"

    async def use(server: ModelServer, _: ModelHost) -> None:
        sounds: list[Sound] = await collect(SpokenOverHttp(server, "m", None, 24000).speak("Hello.", "ash", 1.0))
        assert b"".join(sound.pcm for sound in sounds) == played

    with_server(reply, use)


MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)
SHORT_MP3_FRAME = b"\xff\xf3\x84\x64" + bytes(188)
# Of 11025 Hz and 48 kbit/s, and of 8000 Hz and 64 kbit/s.
SLOW_MP3_FRAMES = (b"\xff\xe3\x60\xc4" + bytes(309), b"\xff\xe2\x88\xc4" + bytes(572))
# ADTS frames of 371 bytes: MPEG-4 and MPEG-2, without and with a CRC.
AAC_FRAMES = [b"\xff" + second + b"\x50\x80\x2e\x7f\xfc\x21" + bytes(363) for second in (b"\xf1", b"\xf9", b"\xf0")]


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        (b"<html>Log in</html>", "text/html; charset=utf-8", "text/html"),
        (b'{"error": "no such voice"}', "application/json", "application/json"),
        (b"<Error/>", "Application/XML; charset=utf-8", "application/xml"),
        (b"ID3\4" + PCM, "audio/pcm", "mp3"),
        (MP3_FRAME * 20, "audio/pcm", "mp3"),
        (SHORT_MP3_FRAME * 20, "", "mp3"),
        *((frame * 20, "audio/pcm", "mp3") for frame in SLOW_MP3_FRAMES),
        *((frame * 20, "audio/pcm", "aac") for frame in AAC_FRAMES),
        (b"OggS" + PCM, "application/octet-stream", "ogg"),
        (b"fLaC" + PCM, "", "flac"),
        (b"\0\0\0\x20ftypM4A " + PCM, "audio/pcm", "mp4"),
        (b"\x1aE\xdf\xa3" + PCM, "audio/pcm", "webm"),
    ],
)
def test_what_is_no_raw_sound_is_never_played(body: bytes, content_type: str, sent: str) -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        with pytest.raises(ModelError, match=f"sent {sent}, not pcm"):
            await collect(SpokenOverHttp(server, "m", None, 24000).speak("Hello.", "ash", 1.0))

    with_server(Reply([body[:3], body[3:]], content_type=content_type), use)


@pytest.mark.parametrize("content_type", ["audio/pcm", "audio/L16", "application/octet-stream", "", "Audio/MPEG"])
@pytest.mark.parametrize(
    "body",
    [
        PCM,
        MP3_FRAME + PCM,
        MP3_FRAME[:100],
        b"\xff\xfb\xff\xff" + PCM,
        SLOW_MP3_FRAMES[0] + PCM,
        AAC_FRAMES[0] + PCM,
        AAC_FRAMES[0][:100],
        b"\xff\xf1" * 2400,
        b"\xff\xf1\x50\x80\x00\x00" * 800,
        b"ID",
    ],
)
def test_samples_that_look_a_little_like_something_else_are_played(body: bytes, content_type: str) -> None:
    """A proxy may say mpeg of all that a voice sends, whatever was asked for."""
    whole = body[: len(body) // 2 * 2]

    async def use(server: ModelServer, _: ModelHost) -> None:
        sounds: list[Sound] = await collect(SpokenOverHttp(server, "m", None, 24000).speak("Hello.", "ash", 1.0))
        assert b"".join(sound.pcm for sound in sounds) == whole

    with_server(Reply([body[:1], body[1:]], content_type=content_type), use)


def test_a_voice_is_streamed_whatever_the_cuts_between_its_samples() -> None:
    pcm = bytes(range(256)) * 100

    async def use(server: ModelServer, host: ModelHost) -> None:
        voice = SpokenOverHttp(server, "tts-1", None, 16000)
        sounds: list[Sound] = await collect(voice.speak("Hello.", "ash", 1.25))
        assert b"".join(sound.pcm for sound in sounds) == pcm
        assert all(len(sound.pcm) % 2 == 0 and sound.rate_hz == 16000 for sound in sounds)
        asked = host.received[0].json
        assert (asked["voice"], asked["speed"], asked["response_format"]) == ("ash", 1.25, "pcm")

    with_server(Reply([pcm[:101], pcm[101:10_000], pcm[10_000:]], content_type="audio/pcm"), use)


@pytest.mark.parametrize(
    "reply",
    [
        Reply([], again=b": ping\n\n"),
        events(grew("At"), done=False),
        Reply([], again=b" ", content_type="application/json"),
    ],
    ids=["comments", "comments behind words", "blanks"],
)
def test_a_recogniser_that_only_gives_signs_of_life_is_given_up(reply: Reply) -> None:
    reply.again = reply.again or b": ping\n\n"

    async def use(server: ModelServer, _: ModelHost) -> None:
        async with asyncio.timeout(30):
            with pytest.raises(ModelError) as caught:
                await collect(Transcriptions(server, "m").transcribe(Speech(b"", 8000), None))
        assert caught.value.code == "model_timeout"

    with_server(reply, use, timeout_s=1.0)


def test_a_voice_that_trickles_is_given_up() -> None:
    async def use(server: ModelServer, _: ModelHost) -> None:
        async with asyncio.timeout(30):
            with pytest.raises(ModelError) as caught:
                await collect(SpokenOverHttp(server, "m", None, 24000).speak("Hello.", "ash", 1.0))
        assert caught.value.code == "model_timeout"

    with_server(Reply([bytes(9600)], content_type="audio/pcm", again=b"\0"), use, timeout_s=1.0)
