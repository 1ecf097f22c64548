"""Every field of ``session.update`` and ``response.create``, by what it changes: the same session without it does not.

What is changed is a command to what is beneath the conversation (the model, the recogniser, the detector of speech), or
an event. Which door each field was sent on is recorded for docs/conformance.md.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.core.talk import SocketTalk, Talk, TranscriptionTalk, one, types
from tests.matrix import obeys

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.wire.items import LogProb, McpListedTool, Message

JSON = dict[str, Any]
Effect = Callable[[Talk], Any]
OPTIONS = EngineOptions(needs_transcripts=False, context_tokens=1_000, output_tokens=100)
TOOLS = (
    McpListedTool(name="look", input_schema={"type": "object"}, annotations={"readOnlyHint": True}),
    McpListedTool(name="erase", input_schema={"type": "object"}),
)
MCP: JSON = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example/mcp"}
FUNCTION: JSON = {"type": "function", "name": "f"}


class Field(NamedTuple):
    """A field, members that have it, what to look at, and what is to be seen there."""

    path: str
    given: JSON
    look: Effect
    want: Any


# -- what to look at


def asked(name: str) -> Effect:
    """A member of the request to the model."""

    def look(talk: Talk) -> Any:
        talk.client("response.create")
        return plain(getattr(talk.generate(), name))

    return look


def plain(value: Any) -> Any:
    """The value as JSON has it; what was not given is None."""
    return None if value is msgspec.UNSET else msgspec.json.decode(msgspec.json.encode(value))


def heard_as(name: str) -> Effect:
    """A member of what the recogniser is told."""

    def look(talk: Talk) -> Any:
        talk.says()
        wanted = talk.last(do.Hear).transcription
        return None if wanted is None else plain(getattr(wanted, name, None))

    return look


def detects(name: str) -> Effect:
    """A member of what the detector of speech is told."""

    def look(talk: Talk) -> Any:
        found = [each.turn_detection for each in talk.done if isinstance(each, do.ConfigureTurns)]
        return plain(getattr(found[-1], name, None))

    return look


def is_off(kind: type, name: str) -> Effect:
    def look(talk: Talk) -> Any:
        found = [getattr(each, name) for each in talk.done if isinstance(each, kind)]
        return (len(found), found[-1:])

    return look


def noise(name: str) -> Effect:
    def look(talk: Talk) -> Any:
        found = [each.noise_reduction for each in talk.done if isinstance(each, do.ReduceNoise)]
        return plain(getattr(found[-1], name)) if found else None

    return look


def answers_a_turn(talk: Talk) -> bool:
    return "response.created" in types(talk.says())


def lets_itself_be_interrupted(talk: Talk) -> bool:
    talk.client("response.create")
    run = talk.generate().run
    talk.audio(run, 2000, "A long story.")
    talk.happens(happened.VoiceStarted(talk.input_ms))
    return talk.count(do.CancelGeneration) > 0


def asks_a_silent_caller(talk: Talk) -> bool:
    talk.client("response.create", response={"output_modalities": ["text"]})
    talk.happens(happened.GenerationFinished(talk.generate().run))
    return "input_audio_buffer.timeout_triggered" in types(talk.waits(6))


def speech_begins_at(talk: Talk) -> Any:
    talk.now += 2.0
    if isinstance(talk, SocketTalk):
        talk.appends(2000)
    return one(talk.happens(happened.VoiceStarted(2000)), "input_audio_buffer.speech_started")["audio_start_ms"]


def logprobs(talk: Talk) -> bool:
    talk.client("session.update", session=_audio(talk, {"transcription": {"model": "whisper-1"}}))
    talk.says()
    sure = (LogProb("hi", -0.1, (104, 105)),)
    done = happened.TranscriptCompleted(talk.last(do.Hear).item_id, "hi", 1.0, sure)
    return "logprobs" in one(talk.happens(done), "conversation.item.input_audio_transcription.completed")


def _audio(talk: Talk, given: JSON) -> JSON:
    kind = "transcription" if isinstance(talk, TranscriptionTalk) else "realtime"
    return {"type": kind, "audio": {"input": given}}


def listed(name: str) -> Effect:
    """A member of what the client of MCP servers is told."""

    def look(talk: Talk) -> Any:
        found = [each.server for each in talk.done if isinstance(each, do.ListMcpTools)]
        return plain(getattr(found[-1], name)) if found else None

    return look


def shown_tools(talk: Talk) -> list[str]:
    """The functions that the model has, of a server with two tools."""
    for wanted in [each for each in talk.done if isinstance(each, do.ListMcpTools)]:
        talk.happens(happened.McpToolsListed(wanted.item_id, TOOLS))
    talk.client("response.create")
    return [tool.name for tool in talk.generate().tools if tool.type == "function"]


def runs_at_once(tool: str) -> Effect:
    """Whether a tool runs without an approval."""

    def look(talk: Talk) -> Any:
        shown_tools(talk)
        run = talk.generate().run
        talk.happens(happened.ToolCallStarted(run, 0, f"crm__{tool}"))
        talk.happens(happened.GenerationFinished(run))
        return talk.count(do.CallMcpTool) > 0

    return look


def read_of_ten(talk: Talk) -> Any:
    """How many of ten messages of 100 tokens the model reads, where 1,000 tokens are its window."""
    for _ in range(10):
        content = [{"type": "input_text", "text": "word" * 100}]
        talk.client("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    talk.client("session.update", session={"type": "realtime", "instructions": ""})
    before = talk.count(do.Generate)
    talk.client("response.create")
    return len(talk.generate().items) if talk.count(do.Generate) > before else "failed"


# -- session.update

ASKED = (
    ("output_modalities[]", {"output_modalities": ["text"]}, "modality", "text"),
    ("instructions", {"instructions": "Be brief."}, "instructions", "Be brief."),
    ("tool_choice", {"tool_choice": "required", "tools": [FUNCTION]}, "tool_choice", "required"),
    (
        "tool_choice(function)",
        {"tool_choice": {"type": "function", "name": "f"}, "tools": [FUNCTION]},
        "tool_choice",
        {"type": "function", "name": "f"},
    ),
    (
        "tool_choice(function).name",
        {"tool_choice": {"type": "function", "name": "f"}, "tools": [FUNCTION]},
        "tool_choice",
        {"type": "function", "name": "f"},
    ),
    ("parallel_tool_calls", {"parallel_tool_calls": False}, "parallel_tool_calls", False),
    ("reasoning.effort", {"reasoning": {"effort": "high"}}, "reasoning", "high"),
    ("max_output_tokens", {"max_output_tokens": 77}, "max_output_tokens", 77),
    ("audio.output.voice", {"audio": {"output": {"voice": "cedar"}}}, "voice", "cedar"),
    ("audio.output.voice.id", {"audio": {"output": {"voice": {"id": "voice_1"}}}}, "voice", {"id": "voice_1"}),
    ("tools[](function)", {"tools": [FUNCTION]}, "tools", [FUNCTION]),
    ("tools[](function).name", {"tools": [FUNCTION]}, "tools", [FUNCTION]),
    (
        "tools[](function).description",
        {"tools": [FUNCTION | {"description": "d"}]},
        "tools",
        [FUNCTION | {"description": "d"}],
    ),
    (
        "tools[](function).parameters",
        {"tools": [FUNCTION | {"parameters": {"type": "object"}}]},
        "tools",
        [FUNCTION | {"parameters": {"type": "object"}}],
    ),
)
MCP_FIELDS = (
    Field("tools[](mcp)", {"tools": [MCP]}, listed("server_label"), "crm"),
    Field("tools[](mcp).server_label", {"tools": [MCP]}, listed("server_label"), "crm"),
    Field("tools[](mcp).server_url", {"tools": [MCP]}, listed("server_url"), "https://crm.example/mcp"),
    Field("tools[](mcp).authorization", {"tools": [MCP | {"authorization": "t"}]}, listed("authorization"), "t"),
    Field("tools[](mcp).headers", {"tools": [MCP | {"headers": {"x": "y"}}]}, listed("headers"), {"x": "y"}),
    Field(
        "tools[](mcp).connector_id",
        {"tools": [{"type": "mcp", "server_label": "crm", "connector_id": "connector_gmail"}]},
        listed("connector_id"),
        "connector_gmail",
    ),
    Field("tools[](mcp).allowed_tools[]", {"tools": [MCP | {"allowed_tools": ["look"]}]}, shown_tools, ["crm__look"]),
    Field(
        "tools[](mcp).allowed_tools.tool_names[]",
        {"tools": [MCP | {"allowed_tools": {"tool_names": ["erase"]}}]},
        shown_tools,
        ["crm__erase"],
    ),
    Field(
        "tools[](mcp).allowed_tools.read_only",
        {"tools": [MCP | {"allowed_tools": {"read_only": True}}]},
        shown_tools,
        ["crm__look"],
    ),
    Field(
        "tools[](mcp).require_approval", {"tools": [MCP | {"require_approval": "never"}]}, runs_at_once("look"), True
    ),
    *(
        Field(
            f"tools[](mcp).require_approval.{when}.{name}",
            {"tools": [MCP | {"require_approval": approval}]},
            runs_at_once(tool),
            runs,
        )
        for when, name, approval, tool, runs in (
            ("never", "tool_names[]", {"never": {"tool_names": ["look"]}}, "look", True),
            ("never", "read_only", {"never": {"read_only": True}}, "look", True),
        )
    ),
    Field(
        "tool_choice(mcp)",
        {"tools": [MCP], "tool_choice": {"type": "mcp", "server_label": "crm"}},
        lambda talk: (shown_tools(talk), talk.generate().tool_choice)[1],
        "required",
    ),
    Field(
        "tool_choice(mcp).server_label",
        {"tools": [MCP], "tool_choice": {"type": "mcp", "server_label": "crm"}},
        lambda talk: (shown_tools(talk), talk.generate().tool_choice)[1],
        "required",
    ),
    Field(
        "tool_choice(mcp).name",
        {"tools": [MCP], "tool_choice": {"type": "mcp", "server_label": "crm", "name": "look"}},
        lambda talk: (shown_tools(talk), plain(talk.generate().tool_choice))[1],
        {"type": "function", "name": "crm__look"},
    ),
)


def transcription(name: str, value: Any, model: str = "gpt-transcribe") -> Field:
    path = f"audio.input.transcription.{name}{'[]' if isinstance(value, list) else ''}"
    given = {"audio": {"input": {"transcription": {"model": model, name: value}}}}
    return Field(path, given, heard_as(name), value)


def turns(kind: str, name: str, value: Any, look: Effect, want: Any) -> Field:
    given = {"audio": {"input": {"turn_detection": {"type": kind, name: value}}}}
    return Field(f"audio.input.turn_detection({kind}).{name}", given, look, want)


HEARING = (
    transcription("model", "gpt-4o-transcribe", "gpt-4o-transcribe"),
    transcription("language", "de"),
    transcription("languages", ["de", "en"]),
    transcription("keywords", ["Meier"]),
    transcription("prompt", "Names of streets.", "whisper-1"),
    *(
        Field(
            f"audio.input.noise_reduction.{name}",
            {"audio": {"input": {"noise_reduction": {"type": "far_field", "strength": 0.4}}}},
            noise(name),
            value,
        )
        for name, value in (("type", "far_field"), ("strength", 0.4))
    ),
    turns("server_vad", "threshold", 0.7, detects("threshold"), 0.7),
    turns("server_vad", "silence_duration_ms", 900, detects("silence_duration_ms"), 900),
    turns("server_vad", "prefix_padding_ms", 100, speech_begins_at, 1900),
    turns("semantic_vad", "eagerness", "low", detects("eagerness"), "low"),
    Field(
        "audio.input.turn_detection(null)",
        {"audio": {"input": {"turn_detection": None}}},
        is_off(do.ConfigureTurns, "turn_detection"),
        (2, [None]),
    ),
    *(
        Field(
            f"audio.input.turn_detection({kind})",
            {"audio": {"input": {"turn_detection": {"type": kind, name: value}}}},
            detects(name),
            value,
        )
        for kind, name, value in (("server_vad", "threshold", 0.3), ("semantic_vad", "eagerness", "high"))
    ),
    Field("include[]", {"include": ["item.input_audio_transcription.logprobs"]}, logprobs, True),
)
SESSION = (
    *(Field(path, given, asked(name), want) for path, given, name, want in ASKED),
    *MCP_FIELDS,
    *HEARING,
    Field("model", {"model": "gpt-4o-realtime"}, asked("model"), "gpt-4o-realtime"),
    Field("audio.output.speed", {"audio": {"output": {"speed": 1.25}}}, asked("speed"), 1.25),
    *(
        turns(kind, name, False, look, False)
        for kind in ("server_vad", "semantic_vad")
        for name, look in (
            ("create_response", answers_a_turn),
            ("interrupt_response", lets_itself_be_interrupted),
        )
    ),
    turns("server_vad", "idle_timeout_ms", 5000, asks_a_silent_caller, True),
    Field("truncation", {"truncation": "disabled"}, read_of_ten, "failed"),
    Field(
        "truncation.retention_ratio",
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}},
        read_of_ten,
        2,
    ),
    Field(
        "truncation.token_limits.post_instructions",
        {"truncation": {"type": "retention_ratio", "retention_ratio": 1, "token_limits": {"post_instructions": 300}}},
        read_of_ten,
        3,
    ),
)

DOORS: dict[str, Callable[..., Talk]] = {"call": Talk, "socket": SocketTalk, "transcription": TranscriptionTalk}


def rows(kind: str, prefix: str, fields: tuple[Field, ...], doors: tuple[str, ...]) -> list[Any]:
    return [
        pytest.param(door, each, id=f"{door}-{each.path}", marks=obeys(kind, prefix.rstrip("."), prefix + each.path))
        for door in doors
        for each in fields
    ]


@pytest.mark.parametrize(
    ("door", "each"),
    [
        *rows("session.update", "session(realtime).", SESSION, ("call", "socket")),
        *rows("session.update", "session(transcription).", HEARING, ("transcription",)),
    ],
)
def test_a_field_of_an_update_is_obeyed(door: str, each: Field) -> None:
    kind = "transcription" if door == "transcription" else "realtime"
    with_it, without = DOORS[door](options=OPTIONS), DOORS[door](options=OPTIONS)
    events = with_it.client("session.update", event_id="mine", session={"type": kind, **each.given})
    without.client("session.update", session={"type": kind})
    assert types(events)[0] == "session.updated"
    assert each.look(with_it) == each.want
    assert each.look(without) != each.want, "it makes the difference"


@pytest.mark.parametrize(
    ("door", "member"),
    [
        pytest.param(
            door,
            member,
            id=f"{member}-{door}",
            marks=obeys("session.update", f"session({kind}).audio.input.{member}(null)"),
        )
        for door, kind in (("call", "realtime"), ("socket", "realtime"), ("transcription", "transcription"))
        for member in ("transcription", "noise_reduction", "turn_detection")
    ],
)
def test_null_turns_off_what_was_on(door: str, member: str) -> None:
    on = {
        "transcription": {"model": "whisper-1"},
        "noise_reduction": {"type": "near_field"},
        "turn_detection": {"type": "server_vad"},
    }
    talk = DOORS[door](audio={"input": {member: on[member]}})
    kind = "transcription" if door == "transcription" else "realtime"

    def effect() -> Any:
        if member == "transcription":
            talk.says()
            return talk.last(do.Hear).transcription
        if member == "noise_reduction":
            return talk.last(do.ReduceNoise).noise_reduction
        return talk.last(do.ConfigureTurns).turn_detection

    assert effect() is not None
    told = talk.client("session.update", session={"type": kind, "audio": {"input": {member: None}}})
    assert types(told) == ["session.updated"]
    assert effect() is None


@pytest.mark.parametrize(
    ("door", "always"),
    [
        pytest.param(
            door,
            always,
            marks=obeys("session.update", f"session(realtime).tools[](mcp).require_approval.always.{path}"),
        )
        for door in ("call", "socket")
        for path, always in (("tool_names[]", {"tool_names": ["look"]}), ("read_only", {"read_only": True}))
    ],
)
def test_a_tool_that_always_needs_an_approval_is_not_exempt(door: str, always: JSON) -> None:
    runs = []
    for approval in ({"never": {"read_only": True}}, {"never": {"read_only": True}, "always": always}):
        talk = DOORS[door](options=OPTIONS)
        talk.client("session.update", session={"type": "realtime", "tools": [MCP | {"require_approval": approval}]})
        runs.append(runs_at_once("look")(talk))
    assert runs == [True, False]


# -- formats, which a call has negotiated

FORMATS: dict[str, JSON] = {
    "audio/pcm": {"type": "audio/pcm", "rate": 24000},
    "audio/pcmu": {"type": "audio/pcmu"},
    "audio/pcma": {"type": "audio/pcma"},
}


@pytest.mark.parametrize(
    ("door", "name"),
    [
        pytest.param(
            door,
            name,
            marks=[
                obeys("session.update", f"session({kind}).audio.input.format({name})"),
                obeys("session.update", f"session({kind}).audio.output.format({name})"),
                obeys("response.create", f"response.audio.output.format({name})"),
            ],
        )
        for door, kind in (("socket", "realtime"), ("transcription", "transcription"))
        for name in FORMATS
    ],
)
def test_audio_comes_and_goes_in_the_format_of_the_session(door: str, name: str) -> None:
    wanted, other = FORMATS[name], FORMATS["audio/pcma" if name == "audio/pcm" else "audio/pcm"]
    sides = ("input", "output") if door == "socket" else ("input",)
    talk = DOORS[door](audio={side: {"format": other} for side in sides})
    ms_of = 48 if name == "audio/pcm" else 8
    kind = "realtime" if door == "socket" else "transcription"
    talk.client("session.update", session={"type": kind, "audio": {side: {"format": wanted} for side in sides}})
    sound = base64.b64encode(bytes(100 * ms_of)).decode()
    talk.client("input_audio_buffer.append", audio=sound)
    assert plain(talk.last(do.TakeInput).format) == wanted
    assert talk.engine.input_ms == 100
    if door != "socket":
        return
    for given in ({}, {"audio": {"output": {"format": wanted}}}):
        talk.client("response.create", **({"response": given} if given else {}))
        run = talk.generate().run
        events = talk.audio(run, 100, "word") + talk.happens(happened.GenerationFinished(run))
        deltas = [each["delta"] for each in events if each["type"] == "response.output_audio.delta"]
        assert abs(sum(len(base64.b64decode(each)) for each in deltas) - 100 * ms_of) <= 8 * ms_of
        assert contains_format(one(events, "response.done")["response"], wanted)
        talk.client("session.update", session={"type": "realtime", "audio": {"output": {"format": other}}})


def contains_format(response: JSON, wanted: JSON) -> bool:
    return bool(response["audio"]["output"]["format"] == wanted)


# -- response.create


def text(words: str, **members: Any) -> JSON:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}], **members}


def words_read(talk: Talk) -> list[str]:
    messages = (item for item in talk.generate().items if isinstance(item, Message))
    return [part.text for item in messages for part in item.content if hasattr(part, "text")]


def asked_now(name: str) -> Effect:
    return lambda talk: plain(getattr(talk.generate(), name))


def told(name: str) -> Effect:
    """A member of the response that began."""
    return lambda talk: one(talk.sent, "response.created")["response"][name]


CALLED: tuple[JSON, ...] = (
    {"id": "mcp_1", "arguments": "{}", "output": "Found."},
    {"id": "mcp_2", "arguments": "{}", "error": {"type": "tool_execution_error", "message": "Not there."}},
)
OVERRIDES = (
    *(Field(path, given, asked_now(name), want) for path, given, name, want in ASKED),
    *MCP_FIELDS[:6],
    Field("conversation", {"conversation": "none"}, told("conversation_id"), None),
    Field("metadata", {"metadata": {"topic": "x"}}, told("metadata"), {"topic": "x"}),
    Field("input[](user)", {"input": [text("Only this.")]}, words_read, ["Only this."]),
    Field("input[](system)", {"input": [text("Only this.", role="system")]}, words_read, ["Only this."]),
    Field(
        "input[](assistant)",
        {"input": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I said."}]}]},
        words_read,
        ["I said."],
    ),
    Field("input[](item_reference)", {"input": [{"type": "item_reference", "id": "known"}]}, words_read, ["Known."]),
    Field(
        "input[](function_call)",
        {"input": [{"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}]},
        lambda talk: [item.type for item in talk.generate().items],
        ["function_call"],
    ),
    Field(
        "input[](function_call_output)",
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "o"}]},
        lambda talk: [item.type for item in talk.generate().items],
        ["function_call_output"],
    ),
    Field(
        "input[](mcp_call)",
        {"input": [{"type": "mcp_call", "server_label": "crm", "name": "look", **call} for call in CALLED]},
        lambda talk: [getattr(item, "output", getattr(item, "name", "")) for item in talk.generate().items],
        ["crm__look", "Found.", "crm__look", "Error: Not there."],
    ),
)


@pytest.mark.parametrize(("door", "each"), rows("response.create", "response.", OVERRIDES, ("call", "socket")))
def test_an_override_is_obeyed_for_this_response_and_no_other(door: str, each: Field) -> None:
    with_it, without = DOORS[door](options=OPTIONS), DOORS[door](options=OPTIONS)
    for talk, given in ((with_it, each.given), (without, {})):
        talk.client("conversation.item.create", item=text("Known.", id="known"))
        talk.client("conversation.item.create", item=text("Known, too."))
        before = talk.engine.session
        assert "response.created" in types(talk.client("response.create", event_id="mine", response=given))
        assert talk.engine.session is before, "the session stays as it is"
    seen = each.look(with_it)
    assert seen == each.want
    assert each.look(without) != each.want, "it makes the difference"
