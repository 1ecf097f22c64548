"""What a model reads of a long conversation, and how long its answers may become."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.core.talk import Talk, one

from offhook.config import load_config
from offhook.errors import ApiProblem, ConfigError
from offhook.host.preparing import Preparing
from offhook.model.openai_http import ChatOptions, chat_request
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.session.truncation import TooLong, fit, input_limit
from offhook.session.usage import item_tokens, prefix_tokens
from offhook.wire.decode import decode_session
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputText, Item, Message
from offhook.wire.server_events import InputTokens, Usage
from offhook.wire.session import RetentionRatio, TokenLimits


def message(tokens: int, item_id: str) -> Message:
    return Message(id=item_id, role="user", content=(InputText(text="word" * tokens),))


def tokens_of(item: Item) -> int:
    return item_tokens(item, 0).read(reads_words=True)


def ratio(part: float, post_instructions: int | None = None) -> RetentionRatio:
    if post_instructions is None:
        return RetentionRatio(type="retention_ratio", retention_ratio=part)
    return RetentionRatio(
        type="retention_ratio", retention_ratio=part, token_limits=TokenLimits(post_instructions=post_instructions)
    )


def ids(fitted: tuple[Item, ...] | TooLong) -> list[str]:
    assert not isinstance(fitted, TooLong), fitted
    return [str(item.id) for item in fitted]


def test_the_example_of_the_api_28224_tokens() -> None:
    limit = input_limit(32_768, 4_096)
    assert limit == 28_224
    full = [message(1_000, f"i{number}") for number in range(28)] + [message(224, "last")]
    assert ids(fit(full, tokens_of, 0, limit, "auto")) == [str(item.id) for item in full]
    assert ids(fit(full, tokens_of, 1, limit, "auto"))[0] == "i1", "one token more, and the oldest is left out"
    assert fit(full, tokens_of, 1, limit, "disabled") == TooLong(28_225, 28_224)


def test_with_a_ratio_more_is_left_out_so_that_the_next_turns_lose_nothing() -> None:
    items = [message(100, f"i{number}") for number in range(10)]
    assert ids(fit(items, tokens_of, 50, 1_049, ratio(0.8))) == [f"i{number}" for number in range(3, 10)]
    assert len(ids(fit(items, tokens_of, 50, 1_050, ratio(0.8)))) == 10, "what fits is left alone"
    assert ids(fit(items, tokens_of, 50, 5_000, ratio(0.5, 600))) == ["i7", "i8", "i9"]
    assert ids(fit(items, tokens_of, 50, 5_000, ratio(0.0, 600))) == ["i9"], "the turn itself is always read"


def test_a_turn_that_does_not_fit_by_itself_is_too_long() -> None:
    assert fit([message(10, "a"), message(100, "b")], tokens_of, 0, 99, "auto") == TooLong(100, 99)
    assert fit([message(10, "a")], tokens_of, 100, 99, ratio(1.0)) == TooLong(110, 99)
    assert fit([], tokens_of, 10, 99, "auto") == ()


def test_a_function_call_and_its_output_leave_together() -> None:
    call = FunctionCall(id="call", name="f" * 40, arguments="{}", call_id="c1")
    output = FunctionCallOutput(id="output", call_id="c1", output="x" * 400)
    items = [call, message(10, "between"), output, message(10, "last")]
    assert ids(fit(items, tokens_of, 0, 40, "auto")) == ["between", "last"]
    asked = [message(100, "a"), call, message(50, "between"), output]
    assert ids(fit(asked, tokens_of, 0, 120, "auto")) == ["call", "output"], "the newest output keeps its call"


# -- in a session


def long_talk(input_tokens: int = 1_000, **session: Any) -> Talk:
    options = EngineOptions(needs_transcripts=True, context_tokens=input_tokens + 648, output_tokens=200)
    return Talk(options=options, instructions="Be brief.", audio={"input": {"turn_detection": None}}, **session)


def write(talk: Talk, tokens: int, item_id: str) -> None:
    content = [{"type": "input_text", "text": "word" * tokens}]
    talk.client("conversation.item.create", item={"id": item_id, "type": "message", "role": "user", "content": content})


def asked(talk: Talk, **response: Any) -> list[str]:
    """Ask for a response, let the model answer nothing, and return what it read."""
    talk.client("response.create", response=response)
    request = talk.generate()
    talk.happens(happened.GenerationFinished(request.run))
    return [str(item.id) for item in request.items]


def test_what_does_not_fit_is_left_out_for_the_model_alone() -> None:
    talk = long_talk()
    for name in "abc":
        write(talk, 400, name)
    assert asked(talk) == ["b", "c"]
    assert one(talk.client("conversation.item.retrieve", item_id="a"), "conversation.item.retrieved")
    write(talk, 10, "d")
    assert asked(talk) == ["b", "c", "d"]


def test_what_was_left_out_is_read_again_once_the_whole_conversation_fits() -> None:
    talk = long_talk()
    for name in "abcd":
        write(talk, 400, name)
    assert asked(talk) == ["c", "d"]
    talk.client("conversation.item.delete", item_id="c")
    assert asked(talk) == ["d"], "all of it is too much still, and the beginning does not change for a part of it"
    talk.client("conversation.item.delete", item_id="a")
    assert asked(talk) == ["b", "d"]
    write(talk, 400, "e")
    assert asked(talk) == ["d", "e"]


def test_shorter_instructions_make_room_for_what_was_left_out() -> None:
    talk = long_talk()
    talk.client("session.update", session={"type": "realtime", "instructions": "word" * 500})
    for name in "abc":
        write(talk, 200, name)
    assert asked(talk) == ["b", "c"]
    talk.client("session.update", session={"type": "realtime", "instructions": "Be brief."})
    assert asked(talk) == ["a", "b", "c"]


def test_the_beginning_stays_the_same_from_turn_to_turn() -> None:
    """A cache of the model finds what it has read before, as far as nothing was left out."""
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    talk = long_talk(tools=[tool], truncation={"type": "retention_ratio", "retention_ratio": 0.5})
    seen: list[dict[str, Any]] = []
    for number in range(12):
        write(talk, 100, f"i{number}")
        asked(talk)
        seen.append(chat_request(talk.generate(), ChatOptions("m")))
    shared = 0
    for before, after in itertools.pairwise(seen):
        assert (before["messages"][0], before["tools"]) == (after["messages"][0], after["tools"])
        shared += before["messages"] == after["messages"][: len(before["messages"])]
    assert shared == 10, "in eleven turns the context was cut once"


@pytest.mark.parametrize("aside", ["Classify.", "word" * 700], ids=["shorter", "longer"])
def test_a_response_beside_the_conversation_does_not_change_what_the_next_turn_reads(aside: str) -> None:
    """Its instructions are its own: with shorter ones all was read, and then each turn began somewhere else."""
    rules = {"instructions": "word" * 500, "truncation": {"type": "retention_ratio", "retention_ratio": 0.5}}
    alone, beside = long_talk(), long_talk()
    for talk in (alone, beside):
        talk.client("session.update", session={"type": "realtime", **rules})
    for number in range(12):
        for talk in (alone, beside):
            write(talk, 100, f"i{number}")
        read = asked(alone)
        assert asked(beside) == read
        assert set(asked(beside, conversation="none", instructions=aside)) >= {f"i{number}"}


def test_a_response_beside_the_conversation_leaves_out_what_the_turns_do() -> None:
    talk = long_talk(truncation={"type": "retention_ratio", "retention_ratio": 0.5})
    for name in "abcdef":
        write(talk, 200, name)
    assert asked(talk) == ["e", "f"]
    write(talk, 10, "g")
    assert asked(talk, conversation="none") == ["e", "f", "g"]
    assert asked(talk, conversation="none", instructions="word" * 300) == ["e", "f", "g"]


def test_a_response_beside_the_conversation_knows_a_new_rule_and_leaves_its_beginning_to_the_turns() -> None:
    talk = long_talk(truncation={"type": "retention_ratio", "retention_ratio": 0.5})
    for name in "abcdef":
        write(talk, 200, name)
    assert asked(talk) == ["e", "f"]
    talk.client("session.update", session={"type": "realtime", "truncation": "auto"})
    assert asked(talk, conversation="none") == ["c", "d", "e", "f"]
    assert asked(talk) == ["c", "d", "e", "f"]


def test_disabled_truncation_fails_the_response_and_not_the_session() -> None:
    talk = long_talk(truncation="disabled")
    write(talk, 900, "a")
    write(talk, 200, "b")
    events = talk.client("response.create")
    response = one(events, "response.done")["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "context_length_exceeded"
    assert response["status_details"]["error"]["type"] == "invalid_request_error"
    assert response["usage"]["total_tokens"] == 0, "the model was not asked"
    assert talk.count(do.Generate) == 0
    talk.client("session.update", session={"type": "realtime", "truncation": "auto"})
    assert asked(talk) == ["b"]


def test_a_response_that_is_cancelled_before_its_model_was_asked_has_used_nothing() -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=True), instructions="word" * 100)
    talk.says()
    assert talk.count(do.Generate) == 0
    usage = one(talk.client("response.cancel"), "response.done")["response"]["usage"]
    assert (usage["total_tokens"], usage["input_tokens"]) == (0, 0)


def test_words_that_come_late_are_counted_when_they_are_there() -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=True, context_tokens=1_648, output_tokens=200))
    write(talk, 900, "a")
    talk.says()
    item_id = talk.last(do.Hear).item_id
    assert talk.count(do.Generate) == 0
    talk.happens(happened.TranscriptCompleted(item_id, "word" * 300, 1.0))
    assert [str(item.id) for item in talk.generate().items] == [item_id]


def test_an_input_of_its_own_is_cut_without_the_conversation_losing_anything() -> None:
    talk = long_talk()
    write(talk, 400, "a")
    write(talk, 400, "b")
    more = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "word" * 600}]}
    references = [{"type": "item_reference", "id": name} for name in "ab"]
    talk.client("response.create", response={"conversation": "none", "input": [*references, more]})
    assert [str(item.id) for item in talk.generate().items][:-1] == []
    assert asked(talk) == ["a", "b"]


def counts(talk: Talk, times: float, extra: int = 0) -> list[dict[str, Any]]:
    """The model answers nothing, and tells an input so many times as long as we estimate it."""
    request = talk.generate()
    ours = prefix_tokens(request.instructions, ()) + sum(map(tokens_of, request.items))
    theirs = round(times * ours) + extra
    usage = Usage(total_tokens=theirs, input_tokens=theirs, input_token_details=InputTokens(text_tokens=theirs))
    events = talk.happens(happened.GenerationFinished(request.run, usage=usage))
    assert one(events, "response.done")["response"]["usage"]["input_tokens"] == theirs
    return events


def test_the_backend_counts_better_than_we_do() -> None:
    talk = long_talk(3_000)
    write(talk, 1_200, "a")
    talk.client("response.create")
    counts(talk, 2)
    write(talk, 600, "b")
    assert asked(talk) == ["b"], "1,800 of our tokens would have fitted; 3,600 of its own do not"


def test_a_short_request_says_nothing_about_long_ones() -> None:
    talk = long_talk(3_000)
    talk.client("response.create")
    counts(talk, 1, extra=30)
    for name in "ab":
        write(talk, 1_200, name)
    assert asked(talk) == ["a", "b"]


def test_a_response_beside_the_conversation_says_nothing_about_it() -> None:
    talk = long_talk(3_000)
    more = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "word" * 1_200}]}
    talk.client("response.create", response={"conversation": "none", "input": [more]})
    counts(talk, 4)
    for name in "ab":
        write(talk, 1_200, name)
    assert asked(talk) == ["a", "b"]


def test_what_was_learnt_is_not_learnt_twice_by_requests_side_by_side() -> None:
    talk = long_talk(3_000)
    for name in "ab":
        write(talk, 600, name)
    talk.client("response.create")
    first = talk.generate()
    talk.client("response.create", response={"conversation": "none"})
    talk.happens(happened.GenerationFinished(first.run, usage=Usage(total_tokens=2_400, input_tokens=2_400)))
    counts(talk, 2)
    write(talk, 100, "c")
    assert asked(talk) == ["a", "b", "c"], "2,600 tokens of the backend's"


@pytest.mark.parametrize(("limit", "words"), [(10, 30), ("inf", 300)])
def test_a_backend_that_does_not_stop_is_stopped(limit: int | str, words: int) -> None:
    talk = long_talk(max_output_tokens=limit, output_modalities=["text"])
    talk.client("response.create")
    run = talk.generate().run
    events = []
    for _ in range(words):
        events += talk.happens(happened.TextProduced(run, "word"))
    response = one(events, "response.done")["response"]
    assert (response["status"], response["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    assert do.CancelGeneration(run) in talk.done


def test_a_backend_that_counts_a_little_differently_is_believed() -> None:
    talk = long_talk(max_output_tokens=10, output_modalities=["text"])
    talk.client("response.create")
    run = talk.generate().run
    for _ in range(14):
        talk.happens(happened.TextProduced(run, "word"))
    events = talk.happens(happened.GenerationFinished(run))
    assert one(events, "response.done")["response"]["status"] == "completed"


def test_limits_that_leave_nothing_are_refused() -> None:
    body = (
        b'{"type":"realtime","truncation":{"type":"retention_ratio","retention_ratio":1,'
        b'"token_limits":{"post_instructions":28673}}}'
    )
    with pytest.raises(ApiProblem) as caught:
        Preparing(most_post_instructions=28_672).session(decode_session(body), "p")
    assert caught.value.param == "session.truncation.token_limits.post_instructions"
    with pytest.raises(ConfigError, match="--output-tokens"):
        load_config({"context_tokens": "4096", "output_tokens": "4000"}, {})
