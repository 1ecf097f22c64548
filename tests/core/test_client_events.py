"""Events in and out: typed where they are known, whole where they are not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import samples

import offhook
from offhook import types
from offhook.client.events import EventGroups, decode_event, encode_client_event
from offhook.wire.decode import decode_client_event
from offhook.wire.server_events import SentAudioDelta, encode_event

SPEECH = b'{"type":"input_audio_buffer.speech_started","event_id":"event_1","audio_start_ms":5,"item_id":"item_1"}'


def test_every_recorded_event_arrives_with_all_its_members() -> None:
    seen = 0
    for sample in samples("server"):
        event = decode_event(json.dumps(sample))
        assert event.type == sample["type"]
        if "item" in sample:
            assert event.item.type == sample["item"]["type"]  # type: ignore[union-attr]
        if isinstance(event, types.Other):
            assert event.to_dict() == sample
        else:
            assert msgspec.to_builtins(event)["type"] == sample["type"]
        seen += 1
    assert seen > 30


def test_a_known_event_has_its_type() -> None:
    event = decode_event(SPEECH)
    assert event == types.SpeechStarted(event_id="event_1", audio_start_ms=5, item_id="item_1")


def test_the_audio_of_an_answer_is_base64_as_with_the_official_package() -> None:
    place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    sent = SentAudioDelta(event_id="event_1", delta=b"\x00\x01\xff", **place)  # type: ignore[arg-type]
    event = decode_event(encode_event(sent))
    assert event == types.OutputAudioDelta(event_id="event_1", delta="AAH/", **place)  # type: ignore[arg-type]


def test_an_event_without_an_id_has_its_type_too() -> None:
    event = decode_event(b'{"type":"input_audio_buffer.dtmf_event_received","event":"5","received_at":1}')
    assert event == types.DtmfReceived(event_id="", event="5", received_at=1)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "offhook.call.ended", "event_id": "event_1", "end": {"reason": "bye", "tags": [{"a": 1}]}},
        json.loads(SPEECH) | {"audio_start_ms": "now", "end": {"reason": "bye", "tags": [{"a": 1}]}},
    ],
)
def test_what_a_newer_server_sends_is_all_there(event: dict[str, Any]) -> None:
    other = decode_event(json.dumps(event))
    assert isinstance(other, types.Other)
    assert (other.type, other.event_id, other.end.reason, other.end.tags[0].a) == (event["type"], "event_1", "bye", 1)
    assert other.to_dict() == event
    with pytest.raises(AttributeError, match="nothing"):
        _ = other.nothing


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"{}", b'{"type":1}', b"\xff", b"[" * 100_000])
def test_what_is_no_event_is_an_error(data: bytes) -> None:
    with pytest.raises(offhook.APIResponseValidationError):
        decode_event(data)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda c: st.dictionaries(st.text(max_size=5), c, max_size=4)
    )
)
def test_anything_with_a_type_is_an_event(value: Any) -> None:
    event = decode_event(json.dumps({"type": "x.y", "value": value}))
    assert isinstance(event, types.Other)
    assert event.to_dict()["value"] == value


def test_every_client_event_is_what_the_server_takes() -> None:
    sent: list[str] = []
    groups: EventGroups[None] = EventGroups(lambda event: sent.append(encode_client_event(event)))
    groups.session.update(session={"type": "realtime", "instructions": ""}, event_id="e1")
    groups.session.update(session=types.SessionParams(type="realtime", tracing=None))
    groups.response.create()
    groups.response.create(response=types.ResponseParams(conversation="none", metadata={"a": "b"}))
    groups.response.cancel(response_id="resp_1")
    groups.input_audio_buffer.append(audio="AAAA")
    groups.input_audio_buffer.commit()
    groups.input_audio_buffer.clear()
    groups.output_audio_buffer.clear()
    message = types.Message(role="user", content=(types.InputText(text="Hi"),))
    groups.conversation.item.create(item=message, previous_item_id="root")
    groups.conversation.item.create(item={"type": "function_call_output", "call_id": "call_1", "output": "{}"})
    groups.conversation.item.delete(item_id="item_1")
    groups.conversation.item.retrieve(item_id="item_1")
    groups.conversation.item.truncate(item_id="item_1", content_index=0, audio_end_ms=5)
    events = [decode_client_event(text) for text in sent]
    assert {type(event) for event in events} == set(types.ClientEvent.__args__)  # type: ignore[attr-defined]
    assert events[1].session.tracing is None  # type: ignore[union-attr]
    assert events[0].event_id == "e1"
    assert events[2].event_id is types.UNSET


def test_a_typed_client_event_is_sent_as_it_is() -> None:
    event = types.ConversationItemTruncate(item_id="item_1", content_index=0, audio_end_ms=5)
    assert decode_client_event(encode_client_event(event)) == event
