"""The wire types hold what the API's samples hold, and refuse what the API refuses, in its words."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from tests.oracle import assert_server_event, samples, schema_errors, schema_names

from offhook.errors import ApiProblem
from offhook.wire import server_events
from offhook.wire.client_events import ClientEvent
from offhook.wire.decode import decode_client_event, decode_refer, decode_reject, decode_session
from offhook.wire.session import SessionParams
from offhook.wire.signature import sign_webhook, webhook_key

# In the schema, but never sent to sessions of the GA shape, or made by features that do not exist yet.
NOT_SENT = {
    "conversation.created",
    "conversation.item.created",
    "conversation.item.input_audio_transcription.segment",
}

FULL_ACCEPT: dict[str, Any] = {
    "type": "realtime",
    "audio": {
        "input": {
            "format": {"rate": 24000, "type": "audio/pcm"},
            "noise_reduction": {"type": "near_field", "strength": 0},
            "transcription": {"language": "en", "model": "whisper-1", "prompt": "names", "delay": "minimal"},
            "turn_detection": {
                "type": "server_vad",
                "create_response": True,
                "idle_timeout_ms": 5000,
                "interrupt_response": True,
                "prefix_padding_ms": 0,
                "silence_duration_ms": 0,
                "threshold": 0,
            },
        },
        "output": {"format": {"rate": 24000, "type": "audio/pcm"}, "speed": 0.25, "voice": "ash"},
    },
    "include": ["item.input_audio_transcription.logprobs"],
    "instructions": "instructions",
    "max_output_tokens": "inf",
    "model": "gpt-realtime",
    "output_modalities": ["text"],
    "parallel_tool_calls": True,
    "prompt": {"id": "id", "variables": {"foo": "string", "bar": {"type": "input_text", "text": "t"}}, "version": "1"},
    "reasoning": {"effort": "minimal"},
    "tool_choice": "none",
    "tools": [
        {"description": "d", "name": "n", "parameters": {}, "type": "function"},
        {
            "type": "mcp",
            "server_label": "label",
            "server_url": "https://mcp.example/",
            "allowed_tools": {"read_only": True, "tool_names": ["a"]},
            "require_approval": {"always": {"tool_names": ["a"]}, "never": {"read_only": True}},
            "headers": {"x": "y"},
        },
    ],
    "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"k": {"deep": 1}}},
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 0}},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """FULL_ACCEPT with one member set (or, for ..., taken away)."""
    body: dict[str, Any] = json.loads(json.dumps(FULL_ACCEPT))
    here: Any = body
    keys: list[Any] = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        here = here[key]
    if value is ...:
        del here[keys[-1]]
    else:
        here[keys[-1]] = value
    return body


def refusal(body: object) -> ApiProblem:
    with pytest.raises(ApiProblem) as caught:
        decode_session(json.dumps(body).encode())
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("event", samples("client"), ids=lambda event: str(event["type"]))
def test_every_client_sample_is_understood(event: dict[str, Any]) -> None:
    if event["type"] == "session.update" and event["session"]["type"] == "transcription":
        pytest.skip("transcription sessions have no telephone call")
    decoded = decode_client_event(json.dumps(event))
    assert json.loads(msgspec.json.encode(decoded)) == event


@pytest.mark.parametrize(
    "event", [e for e in samples("server") if e["type"] not in NOT_SENT], ids=lambda event: str(event["type"])
)
def test_every_server_sample_round_trips(event: dict[str, Any]) -> None:
    union = server_events.ServerEvent
    event = {"event_id": "event_1", **event}  # the schema gives DTMF events none; every client tolerates one
    decoded = msgspec.json.decode(json.dumps(event), type=union)
    assert_server_event(server_events.encode_event(decoded))
    again = json.loads(server_events.encode_event(decoded))
    for name, value in event.items():
        if name not in {"response", "session"}:
            assert again[name] == value


def test_every_event_type_of_the_schema_is_known_or_listed_as_not_sent() -> None:
    ours = {each.__struct_config__.tag for each in server_events.ServerEvent.__args__}
    assert ours | NOT_SENT == set(schema_names("RealtimeServerEvent"))
    clients = {each.__struct_config__.tag for each in ClientEvent.__args__}
    assert clients == set(schema_names("RealtimeClientEvent"))


def test_a_full_accept_body_is_taken_and_loses_nothing() -> None:
    assert not schema_errors("RealtimeSessionCreateRequestGA", FULL_ACCEPT)
    decoded = decode_session(json.dumps(FULL_ACCEPT).encode())
    assert json.loads(msgspec.json.encode(decoded)) == FULL_ACCEPT


@pytest.mark.parametrize(
    ("path", "value", "code", "param"),
    [
        ("type", ..., "missing_required_parameter", "session.type"),
        ("type", "telephone", "invalid_value", "session.type"),
        ("model", "", "invalid_value", "session.model"),
        ("model", None, "invalid_type", "session.model"),
        ("max_output_tokens", 0, "invalid_value", "session.max_output_tokens"),
        ("max_output_tokens", 4097, "invalid_value", "session.max_output_tokens"),
        ("max_output_tokens", "many", "invalid_value", "session.max_output_tokens"),
        ("max_output_tokens", 1.5, "invalid_type", "session.max_output_tokens"),
        ("max_output_tokens", True, "invalid_type", "session.max_output_tokens"),
        ("output_modalities", ["text", "audio"], "invalid_value", "session.output_modalities"),
        ("output_modalities", [], "invalid_value", "session.output_modalities"),
        ("output_modalities", ["smell"], "invalid_value", "session.output_modalities[0]"),
        ("voice", "ash", "unknown_parameter", "session.voice"),
        ("audio.input.format.type", "audio/opus", "invalid_value", "session.audio.input.format.type"),
        ("audio.input.format.type", ..., "missing_required_parameter", "session.audio.input.format.type"),
        ("audio.input.format.rate", 8000, "invalid_value", "session.audio.input.format.rate"),
        ("audio.input.format", "g711_ulaw", "invalid_type", "session.audio.input.format"),
        ("audio.input.loudness", 1, "unknown_parameter", "session.audio.input.loudness"),
        ("audio.output.speed", 1.6, "invalid_value", "session.audio.output.speed"),
        ("audio.output.speed", 0.2, "invalid_value", "session.audio.output.speed"),
        ("audio.output.voice", 7, "invalid_type", "session.audio.output.voice"),
        ("audio.input.turn_detection.threshold", 1.01, "invalid_value", "session.audio.input.turn_detection.threshold"),
        (
            "audio.input.turn_detection.idle_timeout_ms",
            4999,
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            "audio.input.turn_detection.silence_duration_ms",
            -1,
            "invalid_value",
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        ("audio.input.turn_detection.type", "vad", "invalid_value", "session.audio.input.turn_detection.type"),
        (
            "audio.input.turn_detection.eagerness",
            "low",
            "unknown_parameter",
            "session.audio.input.turn_detection.eagerness",
        ),
        ("audio.input.noise_reduction.type", "car", "invalid_value", "session.audio.input.noise_reduction.type"),
        ("audio.input.transcription.delay", "long", "invalid_value", "session.audio.input.transcription.delay"),
        ("include.0", "item.everything", "invalid_value", "session.include[0]"),
        ("tools.0.strict", True, "unknown_parameter", "session.tools[0].strict"),
        ("tools.0.name", ..., "missing_required_parameter", "session.tools[0].name"),
        ("tools.0.type", "web_search", "invalid_value", "session.tools[0].type"),
        ("tools.0.parameters", "none", "invalid_type", "session.tools[0].parameters"),
        ("tools.1.server_url", ..., "missing_required_parameter", "session.tools[1].server_url"),
        ("tools.1.connector_id", "connector_gmail", "invalid_value", "session.tools[1]"),
        ("tools.1.allowed_tools.tool_names", "a", "invalid_type", "session.tools[1].allowed_tools.tool_names"),
        ("tool_choice", "sometimes", "invalid_value", "session.tool_choice"),
        ("tool_choice", {"type": "function"}, "missing_required_parameter", "session.tool_choice.name"),
        ("tool_choice", {"type": "web"}, "invalid_value", "session.tool_choice.type"),
        ("tracing", "manual", "invalid_value", "session.tracing"),
        ("tracing", {"name": "x"}, "unknown_parameter", "session.tracing.name"),
        ("truncation", "never", "invalid_value", "session.truncation"),
        ("truncation.retention_ratio", 1.5, "invalid_value", "session.truncation.retention_ratio"),
        ("truncation.type", ..., "missing_required_parameter", "session.truncation.type"),
        ("truncation.retention_ratio", ..., "missing_required_parameter", "session.truncation.retention_ratio"),
        ("truncation.token_limits.post_instructions", -1, "invalid_value", "session.truncation.token_limits"),
        ("prompt", {"version": "1"}, "missing_required_parameter", "session.prompt.id"),
        ("prompt.variables.bar.type", "input_sound", "invalid_value", "session.prompt.variables.bar.type"),
        ("reasoning.effort", "extreme", "invalid_value", "session.reasoning.effort"),
        ("parallel_tool_calls", "yes", "invalid_type", "session.parallel_tool_calls"),
        ("instructions", ["be brief"], "invalid_type", "session.instructions"),
    ],
)
def test_a_bad_member_is_refused_with_its_path(path: str, value: object, code: str, param: str) -> None:
    problem = refusal(changed(path, value))
    assert problem.code == code, problem.message
    assert problem.param is not None
    assert problem.param.startswith(param), problem.message


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b'{"type":"realtime","max_output_tokens":500.0}', "session.max_output_tokens", "invalid_type"),
        (
            b'{"type":"realtime","audio":{"input":{"turn_detection":{"type":"server_vad","silence_duration_ms":5e2}}}}',
            "session.audio.input.turn_detection.silence_duration_ms",
            "invalid_type",
        ),
        (
            b'{"type":"realtime","audio":{"input":{"format":{"type":"audio/pcm","rate":24000.0}}}}',
            "session.audio.input.format.rate",
            "invalid_type",
        ),
        (
            b'{"type":"realtime","audio":{"output":{"speed":1' + b"0" * 400 + b"}}}",
            "session.audio.output.speed",
            "invalid_value",
        ),
        (
            b'{"type":"realtime","audio":{"input":{"noise_reduction":{"type":"near_field","strength":1'
            + b"0" * 400
            + b"}}}}",
            "session.audio.input.noise_reduction.strength",
            "invalid_value",
        ),
        (
            b'{"type":"realtime","tools":[{"type":"function","type":"mcp","server_label":"a","server_url":"b"}]}',
            "session.tools[0]",
            "invalid_value",
        ),
        (b'{"type":"realtime","instructions":5,"instructions":"x"}', "session.instructions", "invalid_value"),
    ],
)
def test_what_only_the_decoder_refuses_is_refused_by_its_name_too(body: bytes, param: str, code: str) -> None:
    """Integral decimals and members that stand twice were refused as "session", which names nothing."""
    with pytest.raises(ApiProblem) as caught:
        decode_session(body)
    assert caught.value.param is not None
    assert caught.value.param.startswith(param)
    assert caught.value.code == code


def test_a_refused_value_names_the_supported_ones() -> None:
    problem = refusal(changed("reasoning.effort", "extreme"))
    assert problem.message == (
        "Invalid value: 'extreme'. Supported values are: 'high', 'low', 'medium', 'minimal', and 'xhigh'."
    )


def test_two_mcp_servers_may_not_share_a_label() -> None:
    body = changed("tools.0", FULL_ACCEPT["tools"][1])
    assert refusal(body).param == "session.tools[1].server_label"


def test_two_functions_may_not_share_a_name() -> None:
    body = changed("tools.1", FULL_ACCEPT["tools"][0])
    assert refusal(body).param == "session.tools[1].name"


def test_mcp_authorization_twice_is_refused() -> None:
    body = changed("tools.1.headers", {"Authorization": "a"})
    body["tools"][1]["authorization"] = "b"
    assert refusal(body).param == "session.tools[1].authorization"


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (
            {"type": "session.update", "session": {"type": "realtime", "tools": [{"type": "function", "name": "f"}]}},
            "session.tools[0].parameters",
        ),
        ({"type": "session.update", "session": {"type": "realtime", "tracing": {}}}, "session.tracing.metadata"),
        (
            {"type": "response.create", "response": {"tools": [{"type": "function", "name": "f"}]}},
            "response.tools[0].parameters",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "t"}]},
            },
            "item.tools[0].input_schema",
        ),
        (
            {
                "type": "response.create",
                "response": {"input": [{"type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "t"}]}]},
            },
            "response.input[0].tools[0].input_schema",
        ),
    ],
)
@pytest.mark.parametrize(("depth", "taken"), [(1, True), (64, True), (65, False), (500, False)])
def test_what_is_nested_too_deep_is_refused_with_its_path(
    event: dict[str, Any], param: str, depth: int, taken: bool
) -> None:
    event = json.loads(json.dumps(event))
    *parents, last = re.findall(r"\w+", param)
    here: Any = event
    for name in parents:
        here = here[int(name) if name.isdigit() else name]
    here[last] = {}
    text = json.dumps(event).replace(
        f'"{last}": {{}}', f'"{last}": ' + '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)
    )
    if taken:
        assert decode_client_event(text)
    else:
        with pytest.raises(ApiProblem) as caught:
            decode_client_event(text)
        assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"type": "realtime"} x'])
def test_what_is_no_json_is_refused_as_such(body: bytes) -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_session(body)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"realtime"'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_session(body)
    assert (caught.value.code, caught.value.param) == ("invalid_type", "session")


def test_absent_and_null_are_different_things() -> None:
    absent = decode_session(b'{"type": "realtime"}')
    null = decode_session(b'{"type": "realtime", "tracing": null}')
    assert absent.tracing is msgspec.UNSET
    assert null.tracing is None
    assert absent == SessionParams(type="realtime")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"status_code": null}', b"  "])
def test_reject_without_a_status_takes_the_default(body: bytes) -> None:
    assert not decode_reject(body).status_code


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b'{"status_code": 299}', "invalid_value", "status_code"),
        (b'{"status_code": 700}', "invalid_value", "status_code"),
        (b'{"status_code": "486"}', "invalid_type", "status_code"),
        (b'{"reason": "busy"}', "unknown_parameter", "reason"),
    ],
)
def test_reject_takes_statuses_of_refusal_only(body: bytes, code: str, param: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_reject(body)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    "target",
    [
        "tel:+15550123",
        "sip:a@b.example;transport=tcp",
        "sips:a@b",
        "TEL:123",
        "sip:a@b?Replaces=x%40y",
        "tel:+1-(201)-555.0123;ext=7;phone-context=+1",
        "tel:*98#",
        "sip:pbx",
        "sip:desk_2:5080",
        "sip:a@[2001:db8::1]:5060;lr",
        "sips:+1;npdi;rn=2@10.0.0.1;user=phone?Replaces=x&Subject=",
        "sip:%23%2a:secret@b.",
    ],
)
def test_refer_takes_telephone_and_sip_targets(target: str) -> None:
    assert decode_refer(json.dumps({"target_uri": target}).encode()).target_uri == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        " ",
        "https://example.com",
        "mailto:a@b",
        "sip:",
        "sip:a@b\r\nContact: <sip:evil@x>",
        "sip:a@b\n",
        "sip:a@b>;x=<",
        "sip:ä@b",
        "sip:a b",
        "sip:" + "a" * 2000,
        "sip:@",
        "sip::::",
        "sip:?",
        "sip:%",
        "sip:a@[::1",
        "sip:a@[::g]",
        "sip:a@[1:2]",
        "sip:a@",
        "sip:@b",
        "sip:a@b@c",
        "sip:a%4@b",
        "sip:a@b:99999",
        "sip:a@b:",
        "sip:a@b;",
        "sip:a@b?x",
        "sip:a@b..c",
        "tel:",
        "tel:+",
        "tel:-",
        "tel:somebody",
        "tel:1;",
    ],
)
def test_refer_refuses_other_targets_and_line_breaks(target: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_refer(json.dumps({"target_uri": target}).encode())
    assert (caught.value.code, caught.value.param) == ("invalid_value", "target_uri")


def test_reject_names_a_status_that_is_no_integer() -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_reject(b'{"status_code": 486.0}')
    assert (caught.value.code, caught.value.param) == ("invalid_type", "status_code")


def test_refer_without_a_target_is_refused() -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_refer(b"{}")
    assert (caught.value.code, caught.value.param) == ("missing_required_parameter", "target_uri")


def test_an_unknown_event_type_lists_the_known_ones() -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_client_event('{"type": "response.start"}')
    assert (caught.value.code, caught.value.param) == ("invalid_value", "type")
    assert "'response.create'" in caught.value.message


def test_an_update_of_the_old_dialect_names_the_member() -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_client_event('{"type": "session.update", "session": {"type": "realtime", "voice": "ash"}}')
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "session.voice")


def test_an_update_without_a_type_says_so() -> None:
    """Users' complaint: session.update without session.type is ignored, or ends the session."""
    with pytest.raises(ApiProblem) as caught:
        decode_client_event('{"type": "session.update", "session": {"instructions": "x"}}')
    assert (caught.value.code, caught.value.param) == ("missing_required_parameter", "session.type")


def test_the_published_signature_vector() -> None:
    secret = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
    body = (
        b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
        b'"type": "response.completed", "data": {"id": "resp_123"}}'
    )
    signature = sign_webhook([webhook_key(secret)], "wh_685c059ae39c8190af8c71ed1022a24d", 1750861210, body)
    assert signature == "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY="


def test_two_secrets_give_two_signatures_for_a_rotation() -> None:
    keys = [webhook_key("new"), webhook_key("old")]
    both = sign_webhook(keys, "wh_1", 1, b"{}").split(" ")
    assert both == [sign_webhook([key], "wh_1", 1, b"{}") for key in keys]
