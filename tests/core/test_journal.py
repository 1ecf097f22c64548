"""A journal is read back whole and gives the same events again."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from msgspec.structs import replace

from offhook.call import machine as telephone
from offhook.call.call import Call, Input
from offhook.call.journal import (
    Event,
    Head,
    JournalError,
    SessionOpened,
    Tick,
    encode_head,
    encode_line,
    output_names,
    read_journal,
    replay,
)
from offhook.call.machine import CallOptions
from offhook.session import inputs as talk
from offhook.session.options import EngineOptions
from offhook.wire.decode import decode_client_event, decode_session
from offhook.wire.items import McpHttpError, McpListedTool
from offhook.wire.session import PcmaFormat

HEAD = Head("rtc_u1_x", b"0123456789abcdef", 5.0, CallOptions(), EngineOptions(needs_transcripts=False))
SESSION = decode_session(b'{"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}')


def recorded() -> bytes:
    call = Call(HEAD.call_id, HEAD.seed, HEAD.options, HEAD.began)
    journal = encode_head(HEAD)
    inputs: list[tuple[float, Event]] = [
        (5.1, telephone.AcceptAsked(SESSION, b"{}", 1)),
        (5.1, SessionOpened(SESSION, PcmaFormat(), 1795372800)),
        (5.1, telephone.LegAnswered()),
        (5.2, talk.ClientSent(decode_client_event('{"type": "response.create"}'), 1)),
        (5.3, talk.TextProduced(1, "Hello.")),
        (5.3, talk.AudioProduced(1, b"\0" * 100, 8000, 500.0, "Hello.")),
        (5.4, talk.PlayoutStarted(1)),
        (5.5, talk.VoiceStarted(400)),
        (5.8, Tick()),
        (6.0, talk.VoiceStopped(900, 1400)),
        (6.1, talk.ClientErred("invalid_json", "no", None, None, 1)),
        (6.2, telephone.CallerHungUp("bye")),
    ]
    for now, event in inputs:
        match event:
            case Tick():
                outputs = call.pass_deadline(now)
            case SessionOpened():
                outputs = call.open_session(
                    event.params,
                    audio_format=event.audio_format,
                    expires_at=event.expires_at,
                    options=HEAD.engine,
                    now=now,
                )
            case _:
                outputs = call.handle(event, now)
        journal += encode_line(now, event, output_names(outputs))
    return journal


def test_a_journal_replays_to_the_same_events() -> None:
    head, lines = read_journal(recorded())
    assert head == HEAD
    steps = list(replay(head, lines))
    assert all(step.same for step in steps)
    assert "output_audio_buffer.cleared" in steps[8].outputs
    assert steps[-1].outputs[-1] == "Finish"


def test_a_change_of_behaviour_is_seen() -> None:
    data = recorded().replace(b'"output_audio_buffer.cleared"', b'"output_audio_buffer.stopped"')
    steps = list(replay(*read_journal(data)))
    assert [step.same for step in steps].count(False) == 1


def test_sound_is_not_kept() -> None:
    assert len(recorded()) < 6000
    assert b"AAAAAAAA" not in recorded()


AUDIO = "AAAAAAAA" * 100
HEARD = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": AUDIO}]}
TOLD = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_audio", "audio": AUDIO, "transcript": "At nine."}],
}
SPOKEN = {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": AUDIO}]}
REFERENCE = {"type": "item_reference", "id": "item_x"}


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "input_audio_buffer.append", "audio": AUDIO},
        {"type": "conversation.item.create", "item": HEARD},
        {"type": "conversation.item.create", "item": TOLD},
        {"type": "conversation.item.create", "item": SPOKEN},
        {"type": "response.create", "response": {"input": [HEARD, TOLD, SPOKEN, REFERENCE]}},
    ],
)
def test_sound_that_a_client_sends_is_not_kept_and_the_journal_replays(sent: dict[str, object]) -> None:
    call = Call(HEAD.call_id, HEAD.seed, HEAD.options, HEAD.began)
    call.handle(telephone.AcceptAsked(SESSION, b"{}", 1), 5.1)
    call.open_session(SESSION, audio_format=PcmaFormat(), expires_at=9, options=HEAD.engine, now=5.1)
    journal = encode_head(HEAD)
    journal += encode_line(5.1, telephone.AcceptAsked(SESSION, b"{}", 1), ())
    journal += encode_line(5.1, SessionOpened(SESSION, PcmaFormat(), 9), ())
    event = talk.ClientSent(decode_client_event(json.dumps(sent)), 1)
    journal += encode_line(5.2, event, output_names(call.handle(event, 5.2)))
    assert b"AAAAAAAA" not in journal
    *_, step = replay(*read_journal(journal))
    assert step.outputs
    assert step.same


IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * 1000
SEEN = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": IMAGE}],
}


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "conversation.item.create", "item": SEEN},
        {"type": "response.create", "response": {"input": [SEEN], "conversation": "none"}},
    ],
)
def test_of_an_image_that_a_client_sends_its_size_and_its_digest_are_kept(sent: dict[str, object]) -> None:
    call = Call(HEAD.call_id, HEAD.seed, HEAD.options, HEAD.began)
    call.handle(telephone.AcceptAsked(SESSION, b"{}", 1), 5.1)
    call.open_session(SESSION, audio_format=PcmaFormat(), expires_at=9, options=HEAD.engine, now=5.1)
    event = talk.ClientSent(decode_client_event(json.dumps(sent)), 1)
    line = encode_line(5.2, event, output_names(call.handle(event, 5.2)))
    assert len(line) < 1000
    digest = hashlib.sha256(IMAGE.encode()).hexdigest()
    assert f"data:image/png;size_bytes={len(IMAGE)};sha256={digest}," in line.decode()
    journal = encode_head(HEAD) + encode_line(5.1, telephone.AcceptAsked(SESSION, b"{}", 1), ())
    journal += encode_line(5.1, SessionOpened(SESSION, PcmaFormat(), 9), ()) + line
    *_, step = replay(*read_journal(journal))
    assert step.outputs
    assert step.same


FILE = "JVBERi0xLjc" * 10
WITH_PROMPT = {
    "type": "realtime",
    "prompt": {
        "id": "pmpt_1",
        "variables": {
            "name": "Ada",
            "greeting": {"type": "input_text", "text": "Hello."},
            "photo": {"type": "input_image", "image_url": IMAGE, "detail": "low"},
            "place": {"type": "input_image", "image_url": "https://example.com/cat.png"},
            "stored": {"type": "input_image", "file_id": "file_1", "image_url": None},
            "short": {"type": "input_file", "filename": "a.pdf", "file_data": FILE},
            "long": {"type": "input_file", "file_data": FILE * 1000},
            "uri": {"type": "input_file", "file_data": f"data:application/pdf;base64,{FILE}"},
            "link": {"type": "input_file", "file_url": f"data:text/plain;base64,{FILE}"},
            "page": {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        },
    },
}
SESSION_WITH_PROMPT = decode_session(json.dumps(WITH_PROMPT).encode())


@pytest.mark.parametrize(
    "event",
    [
        telephone.AcceptAsked(SESSION_WITH_PROMPT, json.dumps(WITH_PROMPT).encode(), 1),
        SessionOpened(SESSION_WITH_PROMPT, PcmaFormat(), 9),
        talk.ClientSent(decode_client_event(json.dumps({"type": "session.update", "session": WITH_PROMPT})), 1),
        talk.ClientSent(
            decode_client_event(
                json.dumps({"type": "response.create", "response": {"prompt": WITH_PROMPT["prompt"], "input": [SEEN]}})
            ),
            1,
        ),
    ],
    ids=["accept", "opened", "update", "response"],
)
def test_of_images_and_files_in_a_prompts_variables_the_size_and_the_digest_are_kept(event: Event) -> None:
    line = encode_line(5.2, event, ()).decode()
    assert len(line) < 4000
    for kind, content in (
        ("image/png", IMAGE),
        ("", FILE),
        ("", FILE * 1000),
        ("application/pdf", f"data:application/pdf;base64,{FILE}"),
        ("text/plain", f"data:text/plain;base64,{FILE}"),
    ):
        assert content not in line
        digest = hashlib.sha256(content.encode()).hexdigest()
        assert f'"data:{kind};size_bytes={len(content)};sha256={digest},"' in line
    for kept in (
        '"Ada"',
        '"Hello."',
        '"https://example.com/cat.png"',
        '"https://example.com/a.pdf"',
        '"file_1"',
        '"low"',
    ):
        assert kept in line
    assert line.count('"image_url":null') == 1
    _, lines = read_journal(encode_head(HEAD) + line.encode())
    assert type(lines[0].event) is type(event)


@pytest.mark.parametrize("prompt", [None, {"id": "pmpt_1"}, {"id": "pmpt_1", "variables": None}])
def test_a_prompt_without_variables_is_kept_as_it_is(prompt: dict[str, object] | None) -> None:
    event = telephone.AcceptAsked(decode_session(json.dumps({"type": "realtime", "prompt": prompt}).encode()), b"", 1)
    _, lines = read_journal(encode_head(HEAD) + encode_line(5.2, event, ()))
    assert isinstance(lines[0].event, telephone.AcceptAsked)
    assert lines[0].event.params.prompt == event.params.prompt


def test_an_image_elsewhere_is_kept_as_where_it_is_unless_that_is_endless() -> None:
    def kept(url: str) -> str:
        item = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url}]}
        sent = decode_client_event(json.dumps({"type": "conversation.item.create", "item": item}))
        _, lines = read_journal(encode_head(HEAD) + encode_line(5.2, talk.ClientSent(sent, 1), ()))
        shown: str = lines[0].event.event.item.content[0].image_url  # type: ignore[union-attr]
        return shown

    assert kept("https://example.com/cat.png") == "https://example.com/cat.png"
    assert len(kept("https://example.com/" + "x" * 1_000_000)) < 200
    assert len(kept("data:" + "x" * 1_000_000)) < 200


def test_a_line_that_was_cut_off_is_left_out() -> None:
    whole = recorded()
    _, lines = read_journal(whole[:-30])
    assert len(lines) == len(read_journal(whole)[1]) - 1


@pytest.mark.parametrize("data", [b"", b"hello\n", b'{"version": 99}\n', b"[]\n", encode_head(HEAD) + b'{"now": 1}\n'])
def test_what_is_no_journal_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(JournalError):
        read_journal(data)


def test_every_input_can_be_written_and_read() -> None:
    kinds: list[type[Input]] = [*telephone.CallInput.__args__, *talk.Input.__args__]
    samples: dict[type, Input] = {
        telephone.AcceptAsked: telephone.AcceptAsked(SESSION, b"{}", 1),
        talk.FillerSpoken: talk.FillerSpoken(1, (("One", 300.5), (" moment.", 400.0))),
        talk.FillerMade: talk.FillerMade(1, (talk.FillerSound(b"", 24000, 300.5),)),
        talk.ClientSent: talk.ClientSent(decode_client_event('{"type": "response.cancel"}')),
        talk.McpToolsListed: talk.McpToolsListed("i", (McpListedTool(name="t", input_schema={"a": [1]}),)),
        talk.McpCallFinished: talk.McpCallFinished("i", None, McpHttpError(code=500, message="m")),
    }
    for kind in kinds:
        if kind in samples:
            event = samples[kind]
        else:
            fields = {
                name: {"int": 1, "float": 1.0, "bool": True}.get(str(annotation).split(" | ")[0], "x")
                for name, annotation in kind.__annotations__.items()
                if name not in {"pcm", "usage", "logprobs", "reason"}
            }
            extra = {"pcm": b""} if "pcm" in kind.__annotations__ else {}
            if "reason" in kind.__annotations__ and kind is not talk.GenerationFinished:
                extra["reason"] = "r"  # type: ignore[assignment]
            event = msgspec.convert(fields | extra, type=kind)
        _, lines = read_journal(encode_head(HEAD) + encode_line(1.0, event, ()))
        if isinstance(event, telephone.AcceptAsked):
            event = replace(event, body=hashlib.sha256(event.body).digest())
        assert lines[0].event == event
