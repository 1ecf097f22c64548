"""Client secrets: how long they open, how many there may be, and what the bodies that make them may say."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from tests.oracle import schema_errors

from offhook.errors import ApiProblem
from offhook.host.client_secrets import ClientSecrets
from offhook.host.project import Project
from offhook.wire import limits
from offhook.wire.decode import decode_secret
from offhook.wire.session import SessionParams
from offhook.wire.transcription import TranscriptionParams, as_start, as_update

PROJECT = Project("proj_a", frozenset())
SESSION = SessionParams(type="realtime", model="gpt-realtime")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def secrets(clock: Clock) -> ClientSecrets:
    seeds = itertools.count()
    return ClientSecrets(clock, lambda: next(seeds).to_bytes(16, "big"))


def test_a_secret_opens_what_it_was_made_for_until_it_expires() -> None:
    clock = Clock()
    made = secrets(clock)
    value = made.make(PROJECT, SESSION, 10, 100)
    assert value.startswith("ek_")
    clock.now += 9.9
    found = made.find(value)
    assert found is not None
    assert (found.project, found.session) == (PROJECT, SESSION)
    assert made.find(value + "x") is None
    clock.now += 0.1
    assert made.find(value) is None
    assert len(made) == 0


def test_too_many_secrets_are_refused_until_some_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECRETS", 3)
    clock = Clock()
    made = secrets(clock)
    values = {made.make(PROJECT, SESSION, life_s, 1) for life_s in (600, 10, 600)}
    assert len(values) == 3
    with pytest.raises(ApiProblem) as caught:
        made.make(PROJECT, SESSION, 10, 1)
    assert (caught.value.status, caught.value.code, made.refused) == (429, "rate_limit_exceeded", 1)
    clock.now += 10
    made.make(PROJECT, SESSION, 10, 1)


def test_large_sessions_fill_the_room_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECRETS_BYTES", 100)
    clock = Clock()
    made = secrets(clock)
    made.make(PROJECT, SESSION, 10, 60)
    with pytest.raises(ApiProblem):
        made.make(PROJECT, SESSION, 10, 41)
    clock.now += 10
    made.make(PROJECT, SESSION, 10, 100)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"expires_after": {"seconds": 9}}, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "invalid_value", "expires_after.anchor"),
        ({"session": {}}, "missing_required_parameter", "session.type"),
        ({"session": {"type": "translation"}}, "invalid_value", "session.type"),
        ({"session": {"type": "realtime", "voice": "alloy"}}, "unknown_parameter", "session.voice"),
        ({"session": {"type": "transcription", "model": "x"}}, "unknown_parameter", "session.model"),
        ({"session": {"type": "realtime", "tools": [{"type": "mcp", "server_label": "a"}]}}, None, None),
        ({"more": 1}, "unknown_parameter", "more"),
        ([], "invalid_type", ""),
    ],
)
def test_a_body_that_cannot_be_is_refused_by_name(body: Any, code: str | None, param: str | None) -> None:
    with pytest.raises(ApiProblem) as caught:
        decode_secret(json.dumps(body).encode())
    if code is not None:
        assert (caught.value.code, caught.value.param) == (code, param)


def test_nothing_at_all_is_a_body() -> None:
    assert decode_secret(b"") == decode_secret(b"{}")
    assert not decode_secret(b"{}").session
    assert not schema_errors("RealtimeCreateClientSecretRequest", {})


def test_a_transcription_session_never_answers_whatever_it_is_told() -> None:
    body = {"session": {"type": "transcription", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}}
    params = decode_secret(json.dumps(body).encode()).session
    assert isinstance(params, TranscriptionParams)
    for session in (as_start(params), as_update(params), as_start(TranscriptionParams(type="transcription"))):
        assert session.audio
        assert session.audio.input
        detection = session.audio.input.turn_detection
        assert detection
        assert (detection.create_response, detection.interrupt_response) == (False, False)
    assert not as_update(TranscriptionParams(type="transcription")).audio
