"""Whatever an upstream sends in whatever order, and however often it is lost: clients are told what was promised."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.relay_talk import PATIENCE_S, TRANSCRIBED, RelayTalk
from tests.core.talk import function
from tests.promises import Judge

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.relay import limits
from offhook.session.relay.connection import Online
from offhook.session.relay.runs import Bill

responses = st.sampled_from(["r1", "r2", "r3", None])
items = st.sampled_from(["i1", "i2", "i3", "item_1", None, 7])
sounds = st.sampled_from(["/////w==", "AAAA", "A", "*", ""])
positions = st.sampled_from([-1, 0, 700, 2000, 10**9, None, "odd"])
statuses = st.sampled_from(["completed", "cancelled", "incomplete", "failed", "odd", None])
reasons = st.sampled_from([None, {"reason": "max_output_tokens"}, {"error": {"code": "c", "message": "m"}}, "odd"])
usages = st.sampled_from(
    [None, {"total_tokens": 3, "input_tokens": 2, "output_tokens": 1}, {"input_tokens": -1}, "odd"]
)
WORDS = "conversation.item.input_audio_transcription"


def event(kind: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind), **members}).map(lambda each: ("upstream", each))


of_response = {"response_id": responses, "item_id": items, "output_index": st.integers(0, 2)}
calls = st.fixed_dictionaries(
    {"id": items, "type": st.sampled_from(["function_call", "message"]), "name": st.sampled_from(["f", None])}
)
actions = st.one_of(
    event("response.created", response=st.fixed_dictionaries({"id": responses})),
    event("response.output_item.added", item=calls, **of_response),
    event("response.output_item.done", item=calls, **of_response),
    event("response.output_audio_transcript.delta", delta=st.sampled_from(["one ", "two ", ""]), **of_response),
    event("response.output_audio_transcript.done", transcript=st.just("one two"), **of_response),
    event("response.output_audio.delta", delta=sounds, **of_response),
    event("response.function_call_arguments.delta", delta=st.just('{"a":'), **of_response),
    event("response.function_call_arguments.done", arguments=st.just("{}"), name=st.just("f"), **of_response),
    event(
        "response.done",
        response=st.fixed_dictionaries(
            {"id": responses, "status": statuses, "status_details": reasons, "usage": usages}
        ),
    ),
    event("input_audio_buffer.committed", item_id=items),
    event("input_audio_buffer.speech_started", audio_start_ms=positions, item_id=items),
    event("input_audio_buffer.speech_stopped", audio_end_ms=positions, item_id=items),
    event(f"{WORDS}.delta", item_id=items, delta=st.just("When ")),
    event(f"{WORDS}.completed", item_id=items, transcript=st.just("When?")),
    event(f"{WORDS}.failed", item_id=items, error=st.just({"message": "no"})),
    event("error", error=st.sampled_from([{"code": "c", "message": "m"}, "odd", None, {"event_id": "event_1"}])),
    st.tuples(st.just("refuse"), st.integers(0, 5)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("classify"), st.integers(0, 5)),
    st.tuples(st.just("raw"), st.sampled_from(["", "{", "[]", '{"type":1}'])),
    st.tuples(st.just("says"), st.integers(200, 3000)),
    st.tuples(st.just("lose"), st.just(None)),
    st.tuples(st.just("connect"), st.just(None)),
    st.tuples(st.just("wait"), st.floats(0, 30)),
    st.tuples(st.just("played"), st.integers(0, 3000)),
    st.tuples(
        st.just("client"),
        st.sampled_from(
            [
                ("response.create", {}),
                ("response.create", {"response": {"conversation": "none", "input": []}}),
                ("response.cancel", {}),
                ("output_audio_buffer.clear", {}),
                ("input_audio_buffer.commit", {}),
                ("input_audio_buffer.clear", {}),
                ("session.update", {"session": {"type": "realtime", "instructions": "Sing."}}),
                ("conversation.item.create", {"item": {"type": "message", "role": "user", "content": []}}),
            ]
        ),
    ),
)


class Judged(RelayTalk):
    """Every output is judged as it comes."""

    def __init__(self, **session: Any) -> None:
        self.judge = Judge()
        super().__init__(**session)

    def _take(self, outputs: list[do.Output]) -> list[dict[str, Any]]:
        self.judge.take(outputs)
        return super()._take(outputs)


class JudgedThere(Judged):
    """Upstream finds the turns."""

    turns = "upstream"


def act(talk: RelayTalk, kind: str, what: Any) -> None:
    match kind:
        case "upstream":
            talk.says_raw(json.dumps(what))
        case "raw":
            talk.says_raw(what)
        case "refuse":
            ours = [each["event_id"] for each in talk.upstream if "event_id" in each][-1 - what :]
            talk.says_upstream("error", error={"code": "c", "message": "m", "event_id": (ours or [None])[0]})
        case "delete" | "classify" if added := [
            each for each in talk.sent if each["type"] == "conversation.item.added"
        ]:
            item_id = added[-1 - what :][0]["item"]["id"]
            reference = {"conversation": "none", "input": [{"type": "item_reference", "id": item_id}]}
            if kind == "delete":
                talk.client("conversation.item.delete", item_id=item_id)
            else:
                talk.client("response.create", response=reference)
        case "delete" | "classify":
            pass
        case "says":
            talk.says(what)
        case "lose":
            talk.lose()
        case "connect":
            talk.waits(limits.BACKOFF_S[-1])
            if not isinstance(talk.relay.state, Online):
                talk.connect()
        case "wait":
            talk.waits(what)
        case "played":
            for run in (1, 2, 3):
                talk.happens(happened.PlayoutStarted(run))
                talk.happens(happened.PlayoutStopped(run, what))
        case _:
            type_, members = what
            talk.client(type_, **members)


@settings(max_examples=50, deadline=None)
@given(st.lists(actions, max_size=30), st.sampled_from([Judged, JudgedThere]))
def test_every_response_ends_once_whatever_upstream_does(
    given_actions: list[tuple[str, Any]], finder: type[Judged]
) -> None:
    talk = finder(audio=TRANSCRIBED, tools=[function("f")])
    for kind, what in given_actions:
        act(talk, kind, what)
    talk.lose()
    talk.waits(3 * (PATIENCE_S + limits.CANCEL_S))
    begun = Counter(each["response"]["id"] for each in talk.sent if each["type"] == "response.created")
    ended = Counter(each["response"]["id"] for each in talk.sent if each["type"] == "response.done")
    assert set(begun.values()) <= {1}
    assert begun == ended
    assert "session.created" not in {each["type"] for each in talk.sent}
    known = {each.get("response_id") for each in talk.sent} | {each.get("item_id") for each in talk.sent}
    assert not known & {"r1", "r2", "r3", "i1", "i2", "i3"}, "ids of the upstream are nobody's business"


@settings(max_examples=50, deadline=None)
@given(st.lists(actions, max_size=30))
def test_what_a_response_took_is_told_once_of_each_that_upstream_took(given_actions: list[tuple[str, Any]]) -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    for kind, what in given_actions:
        act(talk, kind, what)
        guessed = [used for used in talk.used if used.is_estimated]
        assert len(guessed) <= len(talk.asked("response.create"))
    talk.hangs_up()
    runs = [*talk.relay._runs._open.values(), *talk.relay._runs._over.values()]
    assert Bill.OPEN not in [run.bill for run in runs]
    told = sum(run.bill is Bill.TOLD for run in runs)
    ends = sum(kind == "upstream" and what["type"] == "response.done" for kind, what in given_actions)
    assert told <= len(talk.used) <= told + ends, "the others are those that nobody had asked for"


@settings(max_examples=50, deadline=None)
@given(st.lists(actions, max_size=30))
def test_no_words_are_told_of_what_is_deleted(given_actions: list[tuple[str, Any]]) -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    for kind, what in given_actions:
        act(talk, kind, what)
    kinds = ("conversation.item.deleted", f"{WORDS}.delta", f"{WORDS}.completed")
    seen = [(each["type"], each["item_id"]) for each in talk.sent if each["type"] in kinds]
    for place, (kind, item_id) in enumerate(seen):
        if kind == "conversation.item.deleted":
            assert item_id not in [each for _, each in seen[place + 1 :]]


@settings(max_examples=50, deadline=None)
@given(st.lists(actions, max_size=30))
def test_upstream_is_asked_for_one_response_at_a_time(given_actions: list[tuple[str, Any]]) -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    for kind, what in given_actions:
        act(talk, kind, what)
        busy = [run for run in talk.relay._runs if not run.request.aside and type(run.state).__name__ != "Waiting"]
        assert len(busy) <= 1
