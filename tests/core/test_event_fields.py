"""Every event with figures of its own: a conversation in two rounds, in which everything that can be different is.

What an event tells is what happened: ids, words, figures and reasons are compared with what was put in.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.core.talk import Judged, JudgedOnSocket, TranscriptionTalk, one, types
from tests.matrix import obeys

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.wire.items import LogProb, McpHttpError, McpListedTool, McpProtocolError, McpToolExecutionError
from offhook.wire.server_events import CachedTokens, InputTokens, OutputTokens, TokensUsage, Usage

JSON = dict[str, Any]
DOORS: dict[str, Callable[..., Judged]] = {"call": Judged, "socket": JudgedOnSocket}
on_both = pytest.mark.parametrize("door", DOORS)
ROUNDS = (1, 2)
CRM: JSON = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example/mcp", "require_approval": "never"}
SHOP: JSON = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example/mcp"}
FUNCTIONS: list[JSON] = [{"type": "function", "name": "look_up"}, {"type": "function", "name": "book"}]


def create(talk: Judged, **response: Any) -> int:
    """Ask for a response; return the number of its run."""
    assert "response.created" in types(talk.client("response.create", **({"response": response} if response else {})))
    return talk.generate().run


def finish(talk: Judged, run: int, usage: Usage | None = None) -> JSON:
    """The model has finished; return the response."""
    found: JSON = one(talk.happens(happened.GenerationFinished(run, "stop", usage)), "response.done")["response"]
    return found


def read(talk: Judged) -> list[JSON]:
    """Return the items that the model was given last, as JSON has them."""
    found: list[JSON] = msgspec.json.decode(msgspec.json.encode(talk.generate().items))
    return found


# -- items of clients

MESSAGES: tuple[tuple[str, JSON], ...] = (
    ("system", {"type": "input_text"}),
    ("user", {"type": "input_text"}),
    ("assistant", {"type": "output_text"}),
)


@pytest.mark.parametrize(
    ("door", "role", "part"),
    [
        pytest.param(
            door,
            role,
            part,
            id=f"{door}-{role}",
            marks=obeys(
                "conversation.item.create",
                "previous_item_id",
                f"item({role})",
                f"item({role}).id",
                f"item({role}).status",
                f"item({role}).content[].text",
                *([] if role == "system" else [f"item({role}).content[].type"]),
                *(["item(assistant).phase"] if role == "assistant" else []),
            ),
        )
        for door in DOORS
        for role, part in MESSAGES
    ],
)
def test_a_message_of_a_client_is_told_and_read_as_it_was_given(door: str, role: str, part: JSON) -> None:
    talk = DOORS[door]()
    given: list[JSON] = []
    for number, status in zip(ROUNDS, ("completed", "incomplete"), strict=True):
        content = [part | {"text": f"Words {number}."}]
        item = {"id": f"item_{number}", "type": "message", "role": role, "status": status, "content": content}
        if role == "assistant":
            item["phase"] = ("commentary", "final_answer")[number - 1]
        added, done = talk.client("conversation.item.create", previous_item_id="root", item=item)
        assert added["item"] == done["item"] == item
        assert added["previous_item_id"] is None
        given.insert(0, item)
    create(talk)
    assert read(talk) == given, "the last of them went before the first"


@pytest.mark.parametrize(
    "door",
    [
        pytest.param(
            door,
            marks=obeys(
                "conversation.item.create",
                *(f"item(user).content[].{name}" for name in ("image_url", "detail", "transcript")),
                *(f"item(function_call){rest}" for rest in ("", ".id", ".status", ".call_id", ".name", ".arguments")),
                *(f"item(function_call_output){rest}" for rest in ("", ".id", ".status", ".call_id", ".output")),
            ),
        )
        for door in DOORS
    ],
)
def test_images_transcripts_and_functions_of_a_client_are_read_by_the_model(door: str) -> None:
    talk = DOORS[door]()
    given: list[JSON] = []
    for number, detail, status in zip(ROUNDS, ("low", "high"), ("completed", "incomplete"), strict=True):
        image = {"type": "input_image", "image_url": f"data:image/png;base64,iVBORw0KGg{number}=", "detail": detail}
        speech = {"type": "input_audio", "transcript": f"Said {number}.", "audio": "AAAA"}
        call = {"call_id": f"call_{number}", "name": f"f{number}", "arguments": f'{{"a": {number}}}'}
        output = {"call_id": f"call_{number}", "output": f"o{number}"}
        message = {"type": "message", "role": "user", "status": status}
        given += [
            message | {"id": f"look_{number}", "content": [image]},
            message | {"id": f"said_{number}", "content": [speech]},
            {"id": f"asks_{number}", "type": "function_call", "status": status, **call},
            {"id": f"out_{number}", "type": "function_call_output", "status": status, **output},
        ]
    kept: list[JSON] = []
    for item in given:
        told = one(talk.client("conversation.item.create", item=item), "conversation.item.added")["item"]
        if item["id"].startswith("said"):
            parts = [{"type": "input_audio", "transcript": part["transcript"]} for part in item["content"]]
            item = item | {"content": parts}
        assert told == item, "no audio is in an item that is announced"
        kept.append(item)
    create(talk)
    assert read(talk) == kept


@obeys("conversation.item.create", "item(user).content[].audio")
def test_audio_of_a_client_is_heard_and_not_told_again() -> None:
    talk = JudgedOnSocket()
    for n in ROUNDS:
        sound = bytes([n, 0]) * 4800
        part = {"type": "input_audio", "audio": base64.b64encode(sound).decode()}
        item = {"type": "message", "role": "user", "content": [part]}
        told = one(talk.client("conversation.item.create", item=item), "conversation.item.added")["item"]
        assert told["content"] == [{"type": "input_audio", "transcript": None}]
        heard = talk.last(do.HearGiven)
        assert (heard.item_id, heard.audio) == (told["id"], sound)


# -- what is heard


def test_transcripts_have_their_words_their_lengths_and_their_certainty() -> None:
    include = ["item.input_audio_transcription.logprobs"]
    hears = {"input": {"transcription": {"model": "whisper-1"}}}
    options = EngineOptions(needs_transcripts=False)
    for talk in (
        Judged(include=include, audio=hears, options=options),
        JudgedOnSocket(include=include, audio=hears, options=options),
        TranscriptionTalk(include=include, audio=hears, options=options),
    ):
        kinds = []
        for number in ROUNDS:
            talk.says(500 * number)
            heard = talk.last(do.Hear)
            assert heard.end_ms - heard.start_ms >= 500 * number
            sure = (LogProb(f"hi{number}", -0.1 * number, (104, number)),)
            told = one(talk.happens(happened.TranscriptGrew(heard.item_id, f"hi{number}", sure)), kind("delta"))
            assert (told["item_id"], told["delta"]) == (heard.item_id, f"hi{number}")
            assert told["logprobs"] == [{"token": f"hi{number}", "logprob": -0.1 * number, "bytes": [104, number]}]
            ended = happened.TranscriptCompleted(heard.item_id, f"hi{number}", 0.5 * number, sure)
            told = one(talk.happens(ended), kind("completed"))
            assert (told["item_id"], told["transcript"]) == (heard.item_id, f"hi{number}")
            assert told["usage"] == {"type": "duration", "seconds": 0.5 * number}
            assert told["logprobs"][0]["token"] == f"hi{number}"
            talk.says(500)
            item_id = talk.last(do.Hear).item_id
            failed = one(talk.happens(happened.TranscriptFailed(item_id, f"c{number}", f"m{number}")), kind("failed"))
            assert failed["item_id"] == item_id
            error = failed["error"]
            assert (error["code"], error["message"]) == (f"c{number}", f"m{number}")
            kinds.append(heard.item_id)
        assert kinds[0] != kinds[1]


def kind(name: str) -> str:
    return f"conversation.item.input_audio_transcription.{name}"


def test_a_transcript_tells_the_tokens_and_the_languages_where_its_model_does() -> None:
    hears = {"input": {"transcription": {"model": "gpt-transcribe"}}}
    options = EngineOptions(needs_transcripts=False)
    for talk in (
        Judged(audio=hears, options=options),
        JudgedOnSocket(audio=hears, options=options),
        TranscriptionTalk(audio=hears, options=options),
    ):
        for n, language in zip(ROUNDS, ("de", "en"), strict=True):
            talk.says(500)
            usage = TokensUsage(
                input_tokens=12 * n,
                output_tokens=3 * n,
                total_tokens=15 * n,
                input_token_details={"text_tokens": 2 * n, "audio_tokens": 10 * n},
            )
            item_id = talk.last(do.Hear).item_id
            ended = happened.TranscriptCompleted(item_id, "hi", 0.5, language=language, usage=usage)
            told = one(talk.happens(ended), kind("completed"))
            assert told["languages"] == [{"code": language}]
            assert told["usage"] == {
                "type": "tokens",
                "input_tokens": 12 * n,
                "output_tokens": 3 * n,
                "total_tokens": 15 * n,
                "input_token_details": {"text_tokens": 2 * n, "audio_tokens": 10 * n},
            }
        talk.says(500)
        told = talk.happens(happened.TranscriptCompleted(talk.last(do.Hear).item_id, "hm", 0.5))
        assert one(told, kind("completed"))["languages"] == [], "nobody could tell which it was"


@on_both
def test_a_silent_caller_is_asked_each_time_after_the_idle_timeout(door: str) -> None:
    talk = DOORS[door](audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
    seen = []
    for number in ROUNDS:
        if isinstance(talk, JudgedOnSocket):
            talk.appends(7000)
        run = create(talk, output_modalities=["text"]) if number == 1 else talk.generate().run
        finish(talk, run)
        told = one(talk.waits(5.5), "input_audio_buffer.timeout_triggered")
        seen.append((told["audio_start_ms"], told["audio_end_ms"], told["item_id"]))
    assert seen[0][0] < seen[1][0]
    assert seen[0][1] < seen[1][1]
    assert seen[0][2] != seen[1][2]


def test_keys_are_told_with_the_time_at_which_they_were_pressed() -> None:
    talk = Judged()
    for digit, at_s in (("5", 1_795_369_212), ("#", 1_795_369_213)):
        (told,) = talk.happens(happened.DigitPressed(digit, at_s))
        assert (told["event"], told["received_at"]) == (digit, at_s)


# -- what is said


@on_both
def test_a_response_tells_what_its_backend_counted(door: str) -> None:
    talk = DOORS[door]()
    for n in ROUNDS:
        cached = CachedTokens(text_tokens=n, audio_tokens=2 * n, image_tokens=3 * n)
        given = InputTokens(
            text_tokens=10 * n,
            audio_tokens=20 * n,
            image_tokens=30 * n,
            cached_tokens=6 * n,
            cached_tokens_details=cached,
        )
        usage = Usage(
            total_tokens=107 * n,
            input_tokens=60 * n,
            output_tokens=47 * n,
            input_token_details=given,
            output_token_details=OutputTokens(text_tokens=40 * n, audio_tokens=7 * n, reasoning_tokens=5 * n),
        )
        told = finish(talk, create(talk), usage)["usage"]
        assert told == {
            "total_tokens": 107 * n,
            "input_tokens": 60 * n,
            "output_tokens": 47 * n,
            "input_token_details": {
                "text_tokens": 10 * n,
                "audio_tokens": 20 * n,
                "image_tokens": 30 * n,
                "cached_tokens": 6 * n,
                "cached_tokens_details": {"text_tokens": n, "audio_tokens": 2 * n, "image_tokens": 3 * n},
            },
            "output_token_details": {"text_tokens": 40 * n, "audio_tokens": 7 * n, "reasoning_tokens": 5 * n},
        }


@on_both
def test_words_sound_and_calls_are_told_where_they_stand(door: str) -> None:
    talk = DOORS[door](tools=FUNCTIONS)
    for n in ROUNDS:
        run = create(talk)
        for index in range(2):
            words = f"Let me see {n}{index}. "
            told = one(talk.happens(happened.TextProduced(run, words)), "response.output_audio_transcript.delta")
            assert (told["delta"], told["output_index"]) == (words, 2 * index)
            talk.audio(run, 100 * n + 50 * index, words)
            called = happened.ToolCallStarted(run, index, ("look_up", "book")[index], f"call_{n}{index}")
            assert one(talk.happens(called), "conversation.item.added")["item"]["call_id"] == f"call_{n}{index}"
            told = one(
                talk.happens(happened.ToolArgumentsProduced(run, index, f'{{"n": {n}{index}}}')),
                "response.function_call_arguments.delta",
            )
            assert (told["delta"], told["output_index"]) == (f'{{"n": {n}{index}}}', 2 * index + 1)
        output = finish(talk, run)["output"]
        assert [item["type"] for item in output] == ["message", "function_call"] * 2
        assert [item["arguments"] for item in output[1::2]] == [f'{{"n": {n}0}}', f'{{"n": {n}1}}']
        for item in output[1::2]:
            answer = {"type": "function_call_output", "call_id": item["call_id"], "output": f"{n}"}
            talk.client("conversation.item.create", item=answer)
    arguments = [each for each in talk.sent if each["type"] == "response.function_call_arguments.done"]
    assert [each["name"] for each in arguments] == ["look_up", "book"] * 2
    talk.ends()


@on_both
def test_a_written_answer_has_its_text_in_its_place(door: str) -> None:
    talk = DOORS[door](output_modalities=["text"], tools=FUNCTIONS)
    for n in ROUNDS:
        run = create(talk)
        for index, text in enumerate((f"One {n}.", f"Two {n}.")):
            told = one(talk.happens(happened.TextProduced(run, text)), "response.output_text.delta")
            assert (told["delta"], told["output_index"]) == (text, 2 * index)
            talk.happens(happened.ToolCallStarted(run, index, "book"))
        output = finish(talk, run)["output"]
        assert [item["content"][0]["text"] for item in output[::2]] == [f"One {n}.", f"Two {n}."]


@on_both
def test_an_end_that_was_no_completion_says_why(door: str) -> None:
    talk = DOORS[door]()
    endings = [
        happened.GenerationFinished(0, "max_output_tokens"),
        happened.GenerationFinished(0, "content_filter"),
        happened.GenerationFailed(0, "model_error", "The model broke off.", "server_error"),
        happened.GenerationFailed(0, "rate_limit_exceeded", "Slow down.", "rate_limit_error"),
    ]
    told = []
    for ending in endings:
        run = create(talk, metadata={"n": str(len(told))}, max_output_tokens=10 + len(told))
        ended = type(ending)(**{name: getattr(ending, name) for name in ending.__struct_fields__} | {"run": run})
        response = one(talk.happens(ended), "response.done")["response"]
        assert response["metadata"] == {"n": str(len(told))}
        assert response["max_output_tokens"] == 10 + len(told)
        told.append((response["status"], response["status_details"]))
    assert told[0] == ("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
    assert told[1] == ("incomplete", {"type": "incomplete", "reason": "content_filter"})
    assert told[2][1]["error"] == {"type": "server_error", "code": "model_error", "message": "The model broke off."}
    assert told[3][1]["error"] == {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "Slow down."}
    for n in ROUNDS:
        create(talk, conversation="none", metadata={"n": str(n)})
        cancelled = talk.client("response.cancel", response_id=talk.generate().response_id)
        details = one(cancelled, "response.done")["response"]["status_details"]
        assert details == {"type": "cancelled", "reason": "client_cancelled"}


@on_both
def test_what_is_left_of_the_tokens_of_a_minute_is_told_and_comes_back(door: str) -> None:
    talk = DOORS[door](options=EngineOptions(needs_transcripts=False, tokens_per_minute=1_000))
    seen = []
    for tokens in (300, 500):
        events = talk.happens(happened.GenerationFinished(create(talk), "stop", Usage(total_tokens=tokens)))
        talk.now += 10.0
        seen.append(one(events, "rate_limits.updated")["rate_limits"][0])
    assert [each["remaining"] for each in seen] == [700, 200]
    assert [each["limit"] for each in seen] == [1_000, 1_000]
    assert [each["reset_seconds"] for each in seen] == [60.0, 50.0]
    talk.now += 41.0
    events = talk.happens(happened.GenerationFinished(create(talk), "stop", Usage(total_tokens=0)))
    assert one(events, "rate_limits.updated")["rate_limits"][0]["remaining"] == 500, "the first is a minute ago"


# -- the tools of MCP servers


@pytest.mark.parametrize(
    "door",
    [
        pytest.param(
            door,
            marks=obeys(
                "conversation.item.create",
                *(
                    f"item(mcp_approval_response){rest}"
                    for rest in ("", ".id", ".approval_request_id", ".approve", ".reason")
                ),
            ),
        )
        for door in DOORS
    ],
)
def test_everything_about_mcp_servers_is_told_as_it_was(door: str) -> None:
    talk = DOORS[door](tools=[CRM, SHOP])
    for label, n in (("crm", 1), ("shop", 2)):
        asked = next(
            each for each in talk.done if isinstance(each, do.ListMcpTools) and each.server.server_label == label
        )
        tools = (
            McpListedTool(
                name=f"find{n}", input_schema={"type": "object", "n": n}, description=f"d{n}", annotations={"n": n}
            ),
            McpListedTool(name="fail", input_schema={"type": "object"}),
        )
        done = one(talk.happens(happened.McpToolsListed(asked.item_id, tools)), "conversation.item.done")["item"]
        assert done["server_label"] == label
        assert done["tools"][0]["description"] == f"d{n}"
    results: list[JSON] = [
        {"output": "one"},
        {"error": McpToolExecutionError(message="no")},
        {"error": McpHttpError(code=503, message="busy")},
        {"error": McpHttpError(code=404, message="gone")},
        {"error": McpProtocolError(code=-32600, message="odd")},
        {"error": McpProtocolError(code=-32601, message="none such")},
    ]
    for n, result in enumerate(results):
        run = create(talk)
        if n % 2:
            talk.happens(happened.TextProduced(run, "Let me see."))
        talk.happens(happened.ToolCallStarted(run, 0, ("crm__find1", "crm__fail")[n % 2]))
        talk.happens(happened.ToolArgumentsProduced(run, 0, f'{{"n": {n}}}'))
        finish(talk, run)
        ended = talk.happens(happened.McpCallFinished(talk.last(do.CallMcpTool).item_id, **result))
        told = one(ended, "response.mcp_call.failed" if "error" in result else "response.mcp_call.completed")
        item = one(ended, "conversation.item.done")["item"]
        assert told["item_id"] == item["id"]
        assert told["output_index"] == n % 2
        assert item["arguments"] == f'{{"n": {n}}}'
        assert item.get("output") == result.get("output")
        if error := result.get("error"):
            assert (item["error"]["message"], item["error"].get("code")) == (
                error.message,
                getattr(error, "code", None),
            )
    for n, (approve, reason) in enumerate(((True, "fine"), (False, "not today"))):
        run = create(talk)
        talk.happens(happened.ToolCallStarted(run, 0, ("shop__find2", "shop__fail")[n]))
        talk.happens(happened.ToolArgumentsProduced(run, 0, f'{{"a": {n}}}'))
        events = talk.happens(happened.GenerationFinished(run))
        requests = [each["item"] for each in events if each.get("item", {}).get("type") == "mcp_approval_request"]
        answer = {"approval_request_id": requests[0]["id"], "approve": approve, "reason": reason}
        item = {"id": f"answer_{n}", "type": "mcp_approval_response", **answer}
        added = one(talk.client("conversation.item.create", item=item), "conversation.item.added")["item"]
        assert added == item
        if approve:
            talk.happens(happened.McpCallFinished(talk.last(do.CallMcpTool).item_id, "ok"))
    failed = DOORS[door](tools=[CRM, SHOP])
    for asked in [each for each in failed.done if isinstance(each, do.ListMcpTools)]:
        events = failed.happens(happened.McpListFailed(asked.item_id, "m"))
        assert one(events, "mcp_list_tools.failed")["item_id"] == asked.item_id
    talk.ends()


@on_both
def test_what_a_model_complains_of_is_told_in_its_words(door: str) -> None:
    talk = DOORS[door]()
    for n, kind_of in zip(ROUNDS, ("server_error", "invalid_request_error"), strict=True):
        error = one(talk.happens(happened.ModelComplained(f"c{n}", f"m{n}", kind_of)), "error")["error"]
        assert (error["type"], error["code"], error["message"]) == (kind_of, f"c{n}", f"m{n}")


@on_both
def test_a_call_of_a_tool_has_its_place_in_the_answer(door: str) -> None:
    talk = DOORS[door](tools=[CRM])
    listed = (McpListedTool(name="find", input_schema={"type": "object"}),)
    talk.happens(happened.McpToolsListed(talk.last(do.ListMcpTools).item_id, listed))
    for place in (0, 1):
        run = create(talk)
        if place:
            talk.happens(happened.TextProduced(run, "Let me see."))
        talk.happens(happened.ToolCallStarted(run, 0, "crm__find"))
        finish(talk, run)
        ended = talk.happens(happened.McpCallFinished(talk.last(do.CallMcpTool).item_id, "found"))
        assert one(ended, "response.mcp_call.completed")["output_index"] == place


# -- the session

TWICE: tuple[JSON, JSON] = (
    {
        "model": "gpt-a",
        "output_modalities": ["text"],
        "instructions": "A.",
        "tools": [
            FUNCTIONS[0] | {"description": "Looks.", "parameters": {"type": "object"}},
            CRM | {"server_description": "One.", "allowed_tools": ["a"], "require_approval": "always"},
            SHOP | {"server_label": "late", "defer_loading": False, "allowed_callers": ["direct"]},
            SHOP | {"server_label": "any", "allowed_callers": None},
            {"type": "mcp", "server_label": "mail", "connector_id": "connector_gmail", "allowed_tools": None},
            SHOP | {"server_label": "all", "require_approval": {"always": {"tool_names": ["a"], "read_only": True}}},
        ],
        "tool_choice": {"type": "function", "name": "look_up"},
        "max_output_tokens": 10,
        "reasoning": {"effort": "low"},
        "parallel_tool_calls": True,
        "truncation": {
            "type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 100},
        },
        "tracing": {"workflow_name": "a", "group_id": "b", "metadata": {"c": "d"}},
        "prompt": {"id": "pmpt_a", "version": "1", "variables": {"x": "y"}},
        "include": ["item.input_audio_transcription.logprobs"],
    },
    {
        "model": "gpt-b",
        "output_modalities": ["audio"],
        "instructions": "B.",
        "tools": [
            FUNCTIONS[1] | {"description": "Books.", "parameters": {"type": "object", "properties": {}}},
            CRM | {"server_description": "Two.", "allowed_tools": ["b"], "require_approval": "never"},
            SHOP | {"server_label": "late", "defer_loading": False, "allowed_callers": ["programmatic"]},
            SHOP | {"server_label": "ask", "require_approval": {"always": {"read_only": False}}},
            {"type": "mcp", "server_label": "files", "connector_id": "connector_dropbox", "require_approval": None},
            SHOP | {"server_label": "all", "require_approval": {"never": {"tool_names": ["b"], "read_only": False}}},
            SHOP | {"server_label": "some", "allowed_tools": {"tool_names": ["b"], "read_only": False}},
            SHOP | {"server_label": "more", "allowed_tools": {"tool_names": ["c"], "read_only": True}},
        ],
        "tool_choice": {"type": "mcp", "server_label": "crm", "name": "b"},
        "max_output_tokens": 20,
        "reasoning": {"effort": "high"},
        "parallel_tool_calls": False,
        "truncation": {
            "type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 200},
        },
        "tracing": {"workflow_name": "e", "group_id": "f", "metadata": {"g": "h"}},
        "prompt": {"id": "pmpt_b", "version": "2", "variables": {"x": "z"}},
        "include": None,
    },
)  # fmt: skip
HEARD_TWICE: tuple[JSON, JSON] = (
    {
        "transcription": {"model": "whisper-1", "language": "en", "prompt": "Names.", "languages": ["en"]},
        "noise_reduction": {"type": "near_field", "strength": 0.5},
        "turn_detection": {
            "type": "server_vad", "threshold": 0.1, "prefix_padding_ms": 10, "silence_duration_ms": 100,
        },
    },
    {
        "transcription": {"model": "gpt-transcribe", "language": "de", "prompt": "Streets.", "languages": ["de"]},
        "noise_reduction": {"type": "far_field", "strength": 0.7},
        "turn_detection": {
            "type": "server_vad", "threshold": 0.2, "prefix_padding_ms": 20, "silence_duration_ms": 200,
        },
    },
)  # fmt: skip


def answering(given: JSON, n: int) -> JSON:
    """The same turn detection, where there is somebody who answers."""
    turns = given["turn_detection"] | {"create_response": n == 1, "interrupt_response": n == 2}
    return given | {"turn_detection": turns | {"idle_timeout_ms": 5000 * n}}


def contains(told: Any, given: Any) -> bool:
    """Say whether all that was given is told."""
    if isinstance(given, dict):
        return isinstance(told, dict) and all(contains(told.get(name), each) for name, each in given.items())
    if isinstance(given, list):
        return len(told) == len(given) and all(map(contains, told, given))
    return bool(told == given)


@on_both
def test_the_session_is_told_as_it_was_asked_for(door: str) -> None:
    for n, given, hears in zip(ROUNDS, TWICE, HEARD_TWICE, strict=True):
        audio = {"input": answering(hears, n), "output": {"voice": ("cedar", "ash")[n - 1], "speed": 1.0 + n / 10}}
        asked = {"type": "realtime", **given, "audio": audio}
        talk = DOORS[door](session_id=f"sess_{n}", expires_at=1_795_000_000 + n)
        told = one(talk.client("session.update", session=asked), "session.updated")["session"]
        assert contains(told, asked)
        assert (told["id"], told["expires_at"]) == (f"sess_{n}", 1_795_000_000 + n)
        semantic = {"type": "semantic_vad", "eagerness": ("low", "high")[n - 1], "create_response": n == 1}
        semantic["interrupt_response"] = n == 2
        demanded = {"tool_choice": {"type": "mcp", "server_label": ("late", "more")[n - 1]}}
        demanded["tools"] = [SHOP | {"server_label": ("late", "more")[n - 1]}]
        assert contains(
            one(talk.client("session.update", session={"type": "realtime", **demanded}), "session.updated")["session"],
            demanded,
        )
        asked = {"type": "realtime", "audio": {"input": {"turn_detection": semantic}}}
        assert contains(one(talk.client("session.update", session=asked), "session.updated")["session"], asked)
        response = {"audio": {"output": {"voice": audio["output"]["voice"]}}, "output_modalities": ["audio"]}
        run = create(talk, **response)
        assert contains(finish(talk, run), response)


def test_a_transcription_session_is_told_as_it_was_asked_for() -> None:
    for n, hears in zip(ROUNDS, HEARD_TWICE, strict=True):
        asked = {"type": "transcription", "audio": {"input": hears | {"format": {"type": "audio/pcma"}}}}
        talk = TranscriptionTalk(session_id=f"sess_{n}", expires_at=1_795_000_000 + n)
        told = one(talk.client("session.update", session=asked), "session.updated")["session"]
        assert contains(told, asked)
        assert (told["id"], told["expires_at"]) == (f"sess_{n}", 1_795_000_000 + n)


# -- the other events of clients


@pytest.mark.parametrize(
    ("door", "type_", "members"),
    [
        pytest.param(door, type_, members, id=f"{door}-{type_}", marks=obeys(type_, "event_id"))
        for door in (*DOORS, "transcription")
        for type_, members in {
            "session.update": {"session": {"type": "transcription" if door == "transcription" else "realtime"}},
            "input_audio_buffer.append": {"audio": "AAAA"},
            "input_audio_buffer.commit": {},
            "input_audio_buffer.clear": {},
            "output_audio_buffer.clear": {},
            "conversation.item.create": {"item": {"type": "message", "role": "user", "content": []}},
            "conversation.item.retrieve": {"item_id": "x"},
            "conversation.item.truncate": {"item_id": "x", "content_index": 0, "audio_end_ms": 0},
            "conversation.item.delete": {"item_id": "x"},
            "response.create": {},
            "response.cancel": {},
        }.items()
    ],
)
def test_an_error_names_the_event_that_was_refused(door: str, type_: str, members: JSON) -> None:
    talk = TranscriptionTalk() if door == "transcription" else DOORS[door]()
    for number in ROUNDS:
        error = one(talk.client(type_, event_id=f"mine_{number}", **members, zzz=1), "error")["error"]
        assert (error["code"], error["param"], error["event_id"]) == ("unknown_parameter", "zzz", f"mine_{number}")


@pytest.mark.parametrize(
    "door",
    [
        pytest.param(door, marks=[obeys(f"conversation.item.{verb}", "item_id") for verb in ("retrieve", "delete")])
        for door in (*DOORS, "transcription")
    ],
)
def test_items_are_shown_and_deleted_by_their_id(door: str) -> None:
    talk = TranscriptionTalk() if door == "transcription" else DOORS[door]()
    talk.says(400)
    talk.says(900)
    ids = [str(item.id) for item in talk.engine.conversation if getattr(item, "role", "") == "user"]
    spans = []
    for item_id in ids:
        shown = one(talk.client("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved")["item"]
        assert shown["id"] == item_id
        sound = base64.b64decode(shown["content"][0]["audio"])
        span = talk.engine.conversation.audio[item_id]
        assert sound[::8] == bytes(at_ms % 251 for at_ms in range(span.start_ms, span.end_ms))
        spans.append((span.start_ms, span.end_ms))
        assert one(talk.client("conversation.item.delete", item_id=item_id), "conversation.item.deleted")[
            "item_id"
        ] == (item_id)
    assert spans[0] != spans[1]
    assert not set(ids) & {str(item.id) for item in talk.engine.conversation}


@pytest.mark.parametrize(
    "door",
    [
        pytest.param(door, marks=obeys("conversation.item.truncate", "item_id", "content_index", "audio_end_ms"))
        for door in DOORS
    ],
)
def test_an_answer_is_cut_where_the_client_says(door: str) -> None:
    talk = DOORS[door]()
    for heard_ms, words in ((500, "one two"), (750, "one two three")):
        run = create(talk)
        talk.happens(happened.TextProduced(run, "one two three four"))
        talk.audio(run, 1000, "one two three four")
        item_id = finish(talk, run)["output"][0]["id"]
        told = one(
            talk.client("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=heard_ms),
            "conversation.item.truncated",
        )
        assert (told["item_id"], told["content_index"], told["audio_end_ms"]) == (item_id, 0, heard_ms)
        shown = one(talk.client("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved")["item"]
        assert (shown["content"][0]["transcript"], shown["status"]) == (words, "incomplete")


@pytest.mark.parametrize("door", [pytest.param(door, marks=obeys("response.cancel", "response_id")) for door in DOORS])
def test_a_cancel_by_id_ends_that_response_and_no_other(door: str) -> None:
    talk = DOORS[door]()
    create(talk)
    default = talk.generate().response_id
    create(talk, conversation="none")
    aside = talk.generate().response_id
    for response_id in (aside, default):
        assert (
            one(talk.client("response.cancel", response_id=response_id), "response.done")["response"]["id"]
            == response_id
        )


@pytest.mark.parametrize(
    "door",
    [
        pytest.param(
            door,
            marks=[
                obeys("input_audio_buffer.append", "audio"),
                obeys("input_audio_buffer.commit"),
                obeys("input_audio_buffer.clear"),
            ],
        )
        for door in ("socket", "transcription")
    ],
)
def test_what_is_appended_is_committed_or_cleared(door: str) -> None:
    talk = TranscriptionTalk() if door == "transcription" else JudgedOnSocket()
    kind_of = "transcription" if door == "transcription" else "realtime"
    talk.client("session.update", session={"type": kind_of, "audio": {"input": {"turn_detection": None}}})
    for ms in (200, 300):
        sound = bytes(range(48)) * ms
        assert talk.client("input_audio_buffer.append", audio=base64.b64encode(sound).decode()) == []
        assert talk.last(do.TakeInput).audio == sound
        committed = one(talk.client("input_audio_buffer.commit"), "input_audio_buffer.committed")
        heard = talk.last(do.Hear)
        assert (heard.item_id, heard.end_ms - heard.start_ms) == (committed["item_id"], ms)
        talk.client("input_audio_buffer.append", audio=base64.b64encode(sound).decode())
        assert types(talk.client("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
        error = one(talk.client("input_audio_buffer.commit"), "error")["error"]
        assert error["code"] == "input_audio_buffer_commit_empty"


@obeys("output_audio_buffer.clear")
@obeys("input_audio_buffer.clear")
@obeys("input_audio_buffer.commit")
def test_on_a_call_the_buffers_are_committed_and_cleared_by_command() -> None:
    talk = Judged(audio={"input": {"turn_detection": None}})
    for ms in (200, 300):
        talk.now += ms / 1000
        talk.client("input_audio_buffer.commit")
        heard = talk.last(do.Hear)
        assert heard.end_ms - heard.start_ms == ms
        talk.now += 1.0
        assert types(talk.client("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
        run = create(talk)
        talk.happens(happened.TextProduced(run, "one two"))
        talk.audio(run, 1000, "one two")
        talk.happens(happened.PlayoutStarted(run))
        talk.client("output_audio_buffer.clear")
        assert isinstance(talk.done[-1], do.StopPlayout)
        events = talk.happens(happened.PlayoutStopped(run, ms))
        assert one(events, "output_audio_buffer.cleared")["response_id"] == talk.generate().response_id
        assert one(events, "conversation.item.truncated")["audio_end_ms"] == ms
        finish(talk, run)
    talk.ends()
