"""The official package asks for client secrets and models, synchronously and asynchronously."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI
from openai.types.realtime import ClientSecretCreateResponse
from pydantic import TypeAdapter
from tests.oracle import schema_errors
from tests.socket.live import KEY, Live, run

FULL_SESSION: dict[str, Any] = {
    "type": "realtime",
    "audio": {
        "input": {
            "format": {"rate": 24000, "type": "audio/pcm"},
            "noise_reduction": {"strength": 0, "type": "near_field"},
            "transcription": {"delay": "minimal", "language": "en", "model": "whisper-1", "prompt": "prompt"},
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
        "output": {"format": {"type": "audio/pcmu"}, "speed": 0.25, "voice": "alloy"},
    },
    "include": ["item.input_audio_transcription.logprobs"],
    "instructions": "instructions",
    "max_output_tokens": "inf",
    "model": "gpt-realtime",
    "output_modalities": ["text"],
    "parallel_tool_calls": True,
    "reasoning": {"effort": "minimal"},
    "tool_choice": "none",
    "tools": [{"description": "description", "name": "name", "parameters": {}, "type": "function"}],
    "tracing": "auto",
    "truncation": "auto",
}


def judged(secret: ClientSecretCreateResponse) -> dict[str, Any]:
    """What came over the wire, once the SDK's strict type and the schema have taken it."""
    value: dict[str, Any] = secret.model_dump(mode="json", exclude_unset=True)
    TypeAdapter(ClientSecretCreateResponse).validate_python(value)
    assert not schema_errors("RealtimeCreateClientSecretResponse", value)
    return value


def test_a_secret_shows_the_session_that_it_will_open() -> None:
    async def test(one: Live) -> None:
        create = one.sdk.realtime.client_secrets.create
        before = int(time.time())
        plain = judged(await create())
        assert plain["value"].startswith("ek_")
        assert 0 <= plain["expires_at"] - before - 600 <= 60
        session = plain["session"]
        assert (session["object"], session["model"], session["expires_at"]) == ("realtime.session", "gpt-realtime", 0)
        assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
        full = judged(await create(expires_after={"anchor": "created_at", "seconds": 10}, session=FULL_SESSION))
        assert 0 <= full["expires_at"] - before - 10 <= 60
        for name in ("instructions", "tools", "truncation", "tracing", "include", "output_modalities"):
            assert full["session"][name] == FULL_SESSION[name]
        assert full["session"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}
        assert plain["value"] != full["value"]
        heard = judged(await create(session={"type": "transcription"}))["session"]
        assert (heard["type"], heard["object"]) == ("transcription", "realtime.transcription_session")

    run(test)


def test_the_synchronous_client_makes_secrets_and_lists_models() -> None:
    async def test(one: Live) -> None:
        client = OpenAI(api_key=KEY, base_url=one.ready.http + "/v1", max_retries=0)
        judged(await asyncio.to_thread(client.realtime.client_secrets.create))
        translation = await asyncio.to_thread(
            client.realtime.translations.client_secrets.create,
            session={"model": "gpt-realtime-translate", "audio": {"output": {"language": "es"}}},
        )
        shown = translation.model_dump(mode="json", exclude_unset=True)
        assert not schema_errors("RealtimeTranslationClientSecretCreateResponse", shown)
        assert (shown["session"]["type"], shown["session"]["audio"]["output"]) == ("translation", {"language": "es"})
        models = await asyncio.to_thread(client.models.list)
        assert "gpt-realtime" in [model.id for model in models.data]
        model = await asyncio.to_thread(client.models.retrieve, "gpt-realtime")
        assert not schema_errors("Model", model.model_dump(mode="json"))
        with pytest.raises(NotFoundError) as caught:
            await asyncio.to_thread(client.models.retrieve, "no/such model")
        assert caught.value.code == "model_not_found"
        client.close()

    run(test)


def test_a_wrong_secret_request_says_what_is_wrong() -> None:
    async def test(one: Live) -> None:
        create = one.sdk.realtime.client_secrets.create
        with pytest.raises(BadRequestError) as caught:
            await create(expires_after={"anchor": "created_at", "seconds": 5})
        assert (caught.value.code, caught.value.param) == ("invalid_value", "expires_after.seconds")
        secret = await create()
        with pytest.raises(AuthenticationError):
            await one.sdk.with_options(api_key=secret.value).realtime.client_secrets.create()
        with pytest.raises(AuthenticationError):
            await one.sdk.with_options(api_key=secret.value).realtime.calls.hangup("rtc_x")

    run(test)


def test_the_older_routes_make_secrets_too() -> None:
    async def test(one: Live) -> None:
        body = {"model": "gpt-4o-realtime-preview", "voice": "ash", "modalities": ["audio", "text"]}
        body |= {"input_audio_format": "g711_ulaw", "turn_detection": None, "temperature": 0.8}
        answer = await one.http("POST", "/v1/realtime/sessions", json=body)
        shown = answer.json()
        assert answer.status_code == 200, shown
        assert not schema_errors("RealtimeSessionCreateResponse", {k: v for k, v in shown.items() if v is not None})
        assert (shown["model"], shown["voice"], shown["input_audio_format"]) == (body["model"], "ash", "g711_ulaw")
        assert shown["client_secret"]["value"].startswith("ek_")
        assert shown["turn_detection"] is None
        answer = await one.http("POST", "/v1/realtime/transcription_sessions", json={"input_audio_format": "pcm16"})
        assert answer.json()["client_secret"]["value"].startswith("ek_")
        assert answer.json()["input_audio_transcription"]["model"] == "whisper-1"
        refused = await one.http("POST", "/v1/realtime/sessions", json={"voise": "ash"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "voise")

    run(test)


def test_the_configured_model_is_the_first_of_the_list() -> None:
    async def test(one: Live) -> None:
        assert [model.id for model in (await one.sdk.models.list()).data][:1] == ["my-model"]
        assert judged(await one.sdk.realtime.client_secrets.create())["session"]["model"] == "my-model"

    run(test, default_model="my-model")
