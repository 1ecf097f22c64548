"""The official package for Node, unmodified: it dials ``wss://`` alone, so the port of the API speaks TLS, too."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from tests.conformance.node_program import AttentiveModel, NodeProgram, answering, recording, talking_to
from tests.oracle import schema_errors
from tests.socket.live import Live

from offhook.testing.handset import AsyncHandset
from offhook.testing.model import Calls
from offhook.wire.signature import sign_webhook

WRITTEN: dict[str, Any] = {"type": "realtime", "output_modalities": ["text"]}
TOOL = {"type": "function", "name": "opening_hours", "parameters": {"type": "object", "properties": {}}}

pytestmark = pytest.mark.usefixtures("node_peers")


def scripted() -> AttentiveModel:
    model = AttentiveModel()
    model.told("greet the caller", "Good morning.")
    model.hears("when are you open", Calls("opening_hours", {"day": "Monday"}))
    model.result("opening_hours", lambda hours: f"We are here {hours}.")
    return model


def test_a_call_is_accepted_answered_transferred_and_hung_up() -> None:
    model = scripted()

    async def test(phone: AsyncHandset, program: NodeProgram) -> None:
        call = await phone.dial("+15550001")
        await program.until(lambda: "Good morning." in program.answers)
        model.understands = "When are you open, please?"
        await call.says(model.understands)
        await program.until(lambda: "We are here from nine to five." in program.answers)
        transcript = program.sent("conversation.item.input_audio_transcription.completed")[0]
        assert transcript["transcript"] == "When are you open, please?"
        await program.until(lambda: len(program.sent("output_audio_buffer.started")) == 2)
        (incoming,) = program.told("call")
        assert incoming["type"] == "realtime.call.incoming"
        assert "+15550001" in incoming["to"]
        await program.do("refer", id=incoming["id"], target_uri="tel:+15550123")
        await program.do("hangup", id=incoming["id"])
        assert (await call.ended()).by == "them"
        await program.until(lambda: program.told("closed"))
        assert program.told("closed")[0]["code"] == 1000
        await program.do("hangup_again", id=incoming["id"])
        (thrown,) = program.told("thrown")
        assert (thrown["name"], thrown["status"], thrown["code"]) == ("NotFoundError", 404, "call_id_not_found")
        assert not program.told("error")

    answering(test, model, "calls.mjs")


def test_a_call_is_rejected_and_a_forged_webhook_is_not_believed() -> None:
    async def test(phone: AsyncHandset, program: NodeProgram) -> None:
        call = await phone.dial("busy")
        assert call.end is not None
        assert call.end.status == 486
        assert not program.told("refused")
        body = b'{"type":"realtime.call.incoming","data":{}}'
        now_s = int(time.time())
        forged = {"webhook-id": "wh_1", "webhook-timestamp": str(now_s)}
        forged["webhook-signature"] = sign_webhook([b"another key"], "wh_1", now_s, body)
        async with httpx.AsyncClient() as client:
            answer = await client.post(await program.listening(), content=body, headers=forged)
        assert answer.status_code == 400
        assert program.told("refused")[0]["name"] == "InvalidWebhookSignatureError"

    answering(test, scripted(), "calls.mjs")


@pytest.mark.parametrize("way", ["ws", "browser"])
def test_a_session_of_its_own_writes_calls_a_function_and_speaks(tmp_path: Path, way: str) -> None:
    model = scripted()

    async def test(one: Live, program: NodeProgram) -> None:
        await program.until(lambda: program.sent("session.created"))
        (made,) = program.told("made")
        assert "gpt-realtime" in made["models"]
        assert made["secret"]["value"] == "ek_"
        assert not schema_errors("RealtimeCreateClientSecretResponse", made["secret"])
        assert program.sent("session.created")[0]["session"]["instructions"] == "Be brief."

        await send(program, "session.update", session=WRITTEN | {"tools": [TOOL]})
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "When are you open?"}]}
        await send(program, "conversation.item.create", item=item)
        await send(program, "response.create")
        await program.until(lambda: program.sent("response.done"))
        (called,) = program.sent("response.done")[0]["response"]["output"]
        output = {"type": "function_call_output", "call_id": called["call_id"], "output": "from nine to five"}
        await send(program, "conversation.item.create", item=output)
        await send(program, "response.create")
        await program.until(lambda: program.sent("response.output_text.done"))
        assert program.sent("response.output_text.done")[0]["text"] == "We are here from nine to five."
        await program.until(lambda: len(program.sent("rate_limits.updated")) == 2)

        await send(program, "session.update", session=WRITTEN | {"output_modalities": ["audio"]})
        model.hears("thank you", "You are welcome.")
        model.understands = "Thank you very much."
        await program.do("speak", file=recording(tmp_path, model, model.understands))
        await program.until(lambda: len(program.sent("rate_limits.updated")) == 3)
        assert program.sent("input_audio_buffer.speech_started")
        assert program.sent("response.output_audio.delta")
        assert program.answers == ["You are welcome."]
        assert not program.told("error")

        await send(program, "session.update", event_id="mine", session=WRITTEN | {"voice": "marin"})
        await program.until(lambda: program.told("error"))
        error = program.sent("error")[0]["error"]
        assert (error["code"], error["param"], error["event_id"]) == ("unknown_parameter", "session.voice", "mine")
        await program.do("close")
        await program.until(lambda: program.told("closed"))

    talking_to(test, model, "session.mjs", way)


async def send(program: NodeProgram, type_: str, **members: Any) -> None:
    await program.do("send", event={"type": type_, **members})
