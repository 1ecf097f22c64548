"""Responses beside the conversation, and what one response may have that the session has not."""

from __future__ import annotations

from typing import Any

from tests.core.talk import Talk, one, types

from offhook.model.openai_http import UNSEEN, ChatOptions, chat_messages, chat_request
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.engine import MAX_PARALLEL_RESPONSES

ASIDE: dict[str, Any] = {"conversation": "none", "output_modalities": ["text"]}


def test_several_run_beside_the_default_one_and_are_told_apart_by_metadata() -> None:
    talk = Talk()
    talk.client("response.create")
    runs = [talk.generate().run]
    for topic in ("weather", "mood"):
        created = one(
            talk.client("response.create", response=ASIDE | {"metadata": {"topic": topic}}), "response.created"
        )
        assert created["response"]["metadata"] == {"topic": topic}
        assert created["response"]["conversation_id"] is None
        runs.append(talk.generate().run)
    texts = {run: f"answer {run}" for run in runs}
    for run in reversed(runs):
        talk.happens(happened.TextProduced(run, texts[run]))
    ends = [one(talk.happens(happened.GenerationFinished(run)), "response.done")["response"] for run in runs]
    assert [end["metadata"] for end in ends] == [None, {"topic": "weather"}, {"topic": "mood"}]
    said = [end["output"][0]["content"][0] for end in ends]
    assert [part.get("text", part.get("transcript")) for part in said] == list(texts.values())
    assert len(talk.engine.conversation) == 1, "only the default response left something"


def test_there_is_a_limit_to_what_runs_beside() -> None:
    talk = Talk()
    for _ in range(MAX_PARALLEL_RESPONSES):
        assert types(talk.client("response.create", response=ASIDE)) == ["response.created"]
    error = one(talk.client("response.create", response=ASIDE, event_id="e"), "error")["error"]
    assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "e")


def test_a_response_with_an_input_of_its_own_reads_nothing_else() -> None:
    talk = Talk()
    item = {"id": "i1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Known."}]}
    talk.client("conversation.item.create", item=item)
    more = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "New."}]}
    talk.client("response.create", response=ASIDE | {"input": [more, {"type": "item_reference", "id": "i1"}]})
    messages = chat_messages("", talk.generate().items)
    assert [message["content"] for message in messages] == ["New.", "Known."]
    talk.client("response.create", response=ASIDE | {"input": []})
    assert talk.generate().items == ()


def test_a_text_response_makes_no_sound() -> None:
    talk = Talk()
    talk.client("response.create", response={"output_modalities": ["text"]})
    run = talk.generate().run
    assert talk.generate().modality == "text"
    events = talk.happens(happened.TextProduced(run, "Written."))
    events += talk.audio(run, 100, "Written.")
    events += talk.happens(happened.GenerationFinished(run))
    assert talk.count(do.Play) == 0
    assert "response.output_text.delta" in types(events)
    assert not [kind for kind in types(events) if "audio" in kind]
    assert one(events, "response.done")["response"]["output"][0]["content"] == [
        {"type": "output_text", "text": "Written."}
    ]


def test_the_voice_of_a_response_is_the_sessions_once_the_caller_has_heard_it() -> None:
    talk = Talk()
    talk.client("response.create", response={"audio": {"output": {"voice": "ash"}}})
    assert talk.generate().voice == "ash"
    talk.answers()
    error = one(talk.client("response.create", response={"audio": {"output": {"voice": "ash"}}}), "error")["error"]
    assert (error["code"], error["param"]) == ("cannot_update_voice", "response.audio.output.voice")
    written = ASIDE | {"audio": {"output": {"voice": "ash"}}}
    assert types(talk.client("response.create", response=written)) == ["response.created"], "nobody hears it"
    assert types(talk.client("response.create")) == ["response.created"]


def test_an_image_reaches_the_model() -> None:
    talk = Talk()
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    content = [{"type": "input_text", "text": "What is this?"}, picture]
    talk.client("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    talk.client("response.create")
    (message,) = chat_messages("", talk.generate().items)
    assert message["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    usage = one(talk.answers(), "response.done")["response"]["usage"]
    assert usage["input_token_details"]["image_tokens"] > 0


def test_a_model_that_cannot_see_is_told_that_there_was_an_image() -> None:
    talk = Talk()
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    item = {"type": "message", "role": "user", "content": [picture]}
    talk.client("conversation.item.create", item=item)
    talk.client("response.create")
    seen = chat_request(talk.generate(), ChatOptions("m", sees=True))["messages"][-1]["content"]
    assert seen == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}]
    assert chat_request(talk.generate(), ChatOptions("m"))["messages"][-1]["content"] == UNSEEN


def test_how_to_think_and_to_call_reaches_the_model() -> None:
    tool = {"type": "function", "name": "f"}
    talk = Talk(tools=[tool], reasoning={"effort": "high"}, parallel_tool_calls=False)
    talk.client("response.create")
    body = chat_request(talk.generate(), ChatOptions("m", reasons=True))
    assert (body["reasoning_effort"], body["parallel_tool_calls"]) == ("high", False)
    assert "reasoning_effort" not in chat_request(talk.generate(), ChatOptions("m")), "many endpoints refuse it"
    talk.answers()
    talk.client("response.create", response={"reasoning": {"effort": "low"}, "parallel_tool_calls": True})
    body = chat_request(talk.generate(), ChatOptions("m", reasons=True))
    assert (body["reasoning_effort"], body["parallel_tool_calls"]) == ("low", True)
