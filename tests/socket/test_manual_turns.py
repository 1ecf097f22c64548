"""``turn_detection: null`` on a call: the client says what a turn is, and when it is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.socket.live import Live, Socket, run_jumping

from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.interface import Speech, Words
from offhook.model.scripted import ScriptedVoice
from offhook.testing.voice import voice
from offhook.wire.session import TranscriptionEcho

MANUAL = {"audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}}}
COMPLETED = "conversation.item.input_audio_transcription.completed"


class Ear:
    name = "measuring"

    def __init__(self) -> None:
        self.heard_s: list[float] = []

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        self.heard_s.append(speech.seconds)
        yield Words("I would like a table for two.")


def test_a_turn_is_what_the_client_commits_and_is_answered_when_it_asks() -> None:
    """Push to talk: clear, speech, commit, response.create; nothing happens by itself."""
    ear = Ear()

    async def test(one: Live) -> None:
        call, call_id = await one.talk(MANUAL)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await call.say(voice(1500))
            await connection.input_audio_buffer.clear()
            await socket.until("input_audio_buffer.cleared")
            await call.say(voice(900))
            await connection.input_audio_buffer.commit()
            await socket.until("conversation.item.done")
            heard = (await socket.until(COMPLETED))[-1]
            assert heard["transcript"] == "I would like a table for two."
            assert [event["type"] for event in socket.events] == [
                "input_audio_buffer.cleared",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
                "conversation.item.input_audio_transcription.delta",
                COMPLETED,
            ]
            await connection.response.create()
            response = (await socket.until("response.done"))[-1]["response"]
            assert "table for two" in response["output"][0]["content"][0]["transcript"].lower()
            committed = socket.events[1]
            assert committed["item_id"] == heard["item_id"]

    run_jumping(test, backend=Cascade("x", ear, DemoBrain(), ScriptedVoice()))
    (heard_s,) = ear.heard_s
    assert 0.8 <= heard_s < 2.3, "what was said before the clear is no part of it"


def test_a_client_interrupts_by_cancel_and_clear_and_speech_alone_does_not() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk(MANUAL)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            line = 'Say "This is a long sentence which nobody wants to hear to its very end, so it is cut."'
            await connection.response.create(response={"instructions": line})
            await call.hears_sound()
            await socket.until("response.done")
            await call.say(voice(600))
            await connection.output_audio_buffer.clear()
            events = await socket.until("conversation.item.truncated")
            kinds = [event["type"] for event in socket.events]
            assert "output_audio_buffer.cleared" in kinds
            assert not any(kind.startswith("input_audio_buffer.speech") for kind in kinds)
            assert events[-1]["audio_end_ms"] >= 600, "the caller's voice did not stop it"
            await connection.response.cancel()
            (error,) = [event for event in await socket.until("error") if event["type"] == "error"]
            assert error["error"]["code"] == "response_cancel_not_active"

    run_jumping(test, backend=Cascade("x", Ear(), DemoBrain(), ScriptedVoice()))
