"""The official agents package for Node, unmodified: whole conversations over its WebSocket and its SIP transport."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.node_program import AttentiveModel, NodeProgram, answering, recording, talking_to
from tests.socket.live import Live

from offhook.testing.handset import AsyncHandset
from offhook.testing.model import Calls, Thinks
from offhook.wire.items import InputText, Message

STORY = "Once upon a time there was a telephone. It rang and rang all day. In the end somebody answered it."
ENOUGH = "That is enough for me."

pytestmark = pytest.mark.usefixtures("node_peers")


def scripted() -> AttentiveModel:
    model = AttentiveModel()
    model.told("greet the caller", STORY)
    model.hears("when are you open", Calls("opening_hours", {"day": "Monday"}))
    model.result("opening_hours", lambda hours: f"We are here {hours}.")
    model.hears("about my bill", Calls("transfer_to_Billing"))
    model.result("transfer_to_Billing", "Billing speaking.")
    model.hears("who am i", Calls("crm__lookup", {"phone": "+15550001"}))
    model.result("crm__lookup", lambda found: f"I see, {found}.")
    model.hears("tell me a story", STORY, Thinks(60_000), STORY)
    model.hears("that is enough", "As you like.")
    return model


def test_an_agent_calls_its_functions_and_hands_over() -> None:
    model = scripted()

    async def test(one: Live, program: NodeProgram) -> None:
        await program.until(lambda: program.told("connected"))
        await program.do("message", text="When are you open on Monday?")
        await program.until(lambda: ["assistant", "We are here from nine to five on Monday."] in program.said)
        (ended,) = program.told("tool_end")
        assert (ended["name"], ended["result"]) == ("opening_hours", "from nine to five on Monday")
        await program.do("message", text="It is about my bill.")
        await program.until(lambda: ["assistant", "Billing speaking."] in program.said)
        assert program.told("handoff") == [{"kind": "handoff", "from": "Reception", "to": "Billing"}]
        assert model.requests[-1].instructions == "You settle bills."
        assert program.said == [
            ["user", "When are you open on Monday?"],
            ["assistant", "We are here from nine to five on Monday."],
            ["user", "It is about my bill."],
            ["assistant", "Billing speaking."],
        ]
        assert program.told("audio")
        await program.do("rewrite", text="When do you close?")
        await program.until(lambda: program.said == [["user", "When do you close?"]])
        await program.do("message", text="That is enough.")
        await program.until(lambda: ["assistant", "As you like."] in program.said)
        asked = [item for item in model.requests[-1].items if isinstance(item, Message)]
        assert [part.text for item in asked for part in item.content if isinstance(part, InputText)] == [
            "When do you close?",
            "That is enough.",
        ]
        session = program.sent("session.updated")[-1]["session"]
        assert session["tracing"]["workflow_name"] == "reception"
        assert not program.told("error")

    talking_to(test, model, "agents.mjs")


def test_a_spoken_interruption_ends_the_answer_and_is_answered(tmp_path: Path) -> None:
    model = scripted()

    async def test(one: Live, program: NodeProgram) -> None:
        await program.until(lambda: program.told("connected"))
        await program.do("message", text="Please tell me a story.")
        await program.until(lambda: program.told("audio"))
        model.understands = ENOUGH
        await program.do("speak", file=recording(tmp_path, model, ENOUGH), listensMs=1500)
        await program.until(lambda: ["assistant", "As you like."] in program.said)
        assert program.told("audio_interrupted")
        ended = program.sent("response.done")[0]["response"]
        assert (ended["status"], ended["status_details"]["reason"]) == ("cancelled", "turn_detected")
        await program.until(lambda: ["user", ENOUGH] in program.said)
        await program.until(lambda: program.sent("conversation.item.truncated"))
        assert program.sent("conversation.item.truncated")[0]["audio_end_ms"] >= 1500
        await program.until(lambda: ["assistant", STORY] not in program.said)
        assert not program.told("error")

    talking_to(test, model, "agents.mjs")


def test_a_tool_of_a_hosted_mcp_server_runs_when_it_was_approved() -> None:
    model = scripted()

    async def test(one: Live, program: NodeProgram) -> None:
        await program.until(lambda: program.told("mcp_tools"))
        assert "lookup" in program.told("mcp_tools")[0]["names"]
        await program.do("message", text="Who am I?")
        await program.until(lambda: program.told("approval"))
        assert program.told("approval")[0]["name"] == "lookup"
        await program.do("approve")
        await program.until(lambda: ["assistant", "I see, Ada calls from +15550001."] in program.said)
        (called,) = program.told("mcp_call")
        assert called["output"] == "Ada calls from +15550001"
        await program.do("message", text="Who am I?")
        await program.until(lambda: program.told("approval")[1:])
        await program.do("reject")
        await program.until(lambda: any("not approved" in words for _, words in program.said))
        assert program.told("mcp_call")[1]["output"] is None
        assert not program.told("error")

    talking_to(test, model, "agents.mjs", customers=True)


def test_an_agent_answers_a_telephone_call_is_interrupted_has_a_tool_approved_and_hands_over() -> None:
    model = scripted()

    async def test(phone: AsyncHandset, program: NodeProgram) -> None:
        call = await phone.dial("+15550001")
        await program.until(lambda: program.sent("output_audio_buffer.started"))
        model.understands = "Who am I?"
        await call.says(model.understands, interrupting=True)
        await program.until(lambda: program.told("approval"))
        assert program.sent("output_audio_buffer.cleared")
        assert len(program.sent("conversation.item.truncated")) == 1
        await program.do("approve")
        await program.until(lambda: ["assistant", "I see, Ada calls from +15550001."] in program.said)
        model.understands = "It is about my bill."
        await call.says(model.understands, interrupting=True)
        await program.until(lambda: ["assistant", "Billing speaking."] in program.said)
        assert [each["to"] for each in program.told("handoff")] == ["Billing"]
        assert not program.told("audio"), "the telephone plays, the sideband has none"
        await call.hangup()
        await program.until(lambda: program.told("disconnected"))
        assert not program.told("error")

    answering(test, model, "agents.mjs", "sip", customers=True)
