"""What calls cost: work times prices, no figure where there is no price, and nobody's work forgotten."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.core.talk import Talk, one
from tests.core.test_demo_brain import caller, request
from tests.core.test_fallback import Ear, EarlyEar, Mind, seats

from offhook.config import load_config
from offhook.errors import ConfigError
from offhook.host.cost import Cost, Price, Prices
from offhook.host.watching import Watch
from offhook.model.fallback import Order
from offhook.model.interface import ModelError, Sound, Speech
from offhook.model.metering import Used, metered, tell, used_to_hear, used_tokens
from offhook.model.ordered import OrderedEar, OrderedMind, OrderedVoice
from offhook.model.plugin import OURS
from offhook.model.scripted import ScriptedVoice
from offhook.model.settings import BUILT_IN
from offhook.session import outputs as do
from offhook.session.inputs import GenerationFailed, GenerationFinished, TextProduced, TranscriptCompleted
from offhook.session.options import EngineOptions
from offhook.telemetry.metrics import Metrics
from offhook.wire.server_events import CachedTokens, InputTokens, OutputTokens, TokensUsage, Usage

CHAT = Price(per_million_input_tokens=1.0, per_million_cached_tokens=0.25, per_million_output_tokens=4.0)
TOKENS = Used("llm", "chat", input_tokens=1000, cached_tokens=4000, output_tokens=500)


def test_tokens_cost_what_their_kind_costs() -> None:
    assert CHAT.of(TOKENS) == pytest.approx(0.001 + 0.001 + 0.002)
    assert Price(per_million_input_tokens=1.0, per_million_output_tokens=4.0).of(TOKENS) == pytest.approx(0.007)
    spoken = Used("backend", "relay", audio_input_tokens=1000, audio_output_tokens=2000)
    assert CHAT.of(spoken) is None
    whole = Price(per_million_audio_input_tokens=32.0, per_million_audio_output_tokens=64.0)
    assert whole.of(spoken) == pytest.approx(0.16)


def test_speech_costs_by_the_minute_or_by_the_letter() -> None:
    said = Used("tts", "cloud", audio_s=30.0, characters=1000)
    assert Price(per_audio_minute=0.02).of(said) == pytest.approx(0.01)
    assert Price(per_million_characters=15.0).of(said) == pytest.approx(0.015)
    assert Price().of(said) is None
    heard = Used("stt", "ears", audio_s=30.0)
    assert Price(per_million_characters=15.0).of(heard) is None, "a recogniser is given no letters"


def test_a_recogniser_that_counts_tokens_is_paid_by_them_or_by_the_minute() -> None:
    usage = TokensUsage(
        input_tokens=1100, output_tokens=200, total_tokens=1300, input_token_details={"audio_tokens": 1000}
    )
    heard = used_to_hear("ears", 30.0, usage)
    assert heard == Used("stt", "ears", input_tokens=100, output_tokens=200, audio_input_tokens=1000, audio_s=30.0)
    tokens = Price(per_million_input_tokens=1.0, per_million_output_tokens=10.0, per_million_audio_input_tokens=6.0)
    assert tokens.of(heard) == pytest.approx(0.0001 + 0.002 + 0.006)
    assert Price(per_audio_minute=0.006).of(heard) == pytest.approx(0.003)
    assert Price(per_million_input_tokens=1.0).of(heard) is None
    assert tokens.of(used_to_hear("ears", 30.0, None)) is None, "it may count tokens, and did not"


def test_a_price_that_is_missing_leaves_no_figure_and_one_of_zero_does() -> None:
    metrics = Metrics()
    cost = Cost(Prices("EUR", {"chat": CHAT, "local": Price(per_audio_minute=0.0)}), metrics)
    assert cost.shown() == {"currency": "EUR", "total": None, "subtotal": 0.0, "missing": [], "parts": []}
    cost.add(TOKENS)
    cost.add(Used("stt", "local", audio_s=60.0))
    assert cost.total == 0.004
    cost.add(Used("tts", "cloud", audio_s=1.0, characters=12))
    assert cost.total is None
    shown = cost.shown()
    assert shown is not None
    amounts = {part["backend"]: part["amount"] for part in shown["parts"]}
    assert amounts == {"chat": 0.004, "local": 0.0, "cloud": None}
    assert shown["subtotal"] == 0.004, "what is known is told all the same"
    assert shown["missing"] == ["prices.cloud.per_million_characters"]
    lines = [line for line in metrics.text({}).splitlines() if line.startswith("offhook_cost_total")]
    assert lines == [
        'offhook_cost_total{part="llm",backend="chat",currency="EUR"} 0.004',
        'offhook_cost_total{part="stt",backend="local",currency="EUR"} 0',
    ]


def test_without_prices_there_is_no_cost_anywhere() -> None:
    metrics = Metrics()
    cost = Cost(Prices(), metrics)
    cost.add(TOKENS)
    assert (cost.shown(), cost.total) == (None, None)
    assert "offhook_cost" not in metrics.text({})


def test_part_of_a_backends_work_without_a_price_leaves_it_without_a_figure() -> None:
    cost = Cost(Prices("USD", {"chat": Price(per_million_input_tokens=1.0)}), Metrics())
    cost.add(Used("llm", "chat", input_tokens=10))
    assert cost.total == 1e-05
    cost.add(Used("llm", "chat", input_tokens=10, output_tokens=5))
    cost.add(Used("llm", "chat", input_tokens=10))
    assert cost.total is None
    shown = cost.shown()
    assert shown is not None
    assert (shown["subtotal"], shown["missing"]) == (2e-05, ["prices.chat.per_million_output_tokens"])


def test_tokens_of_a_relayed_transcript_that_have_no_price_name_the_price_that_is_missing() -> None:
    price = Price(per_million_audio_input_tokens=32.0, per_million_audio_output_tokens=64.0)
    cost = Cost(Prices("USD", {"relay": price}, whole="relay"), Metrics())
    cost.add(Used("backend", "relay", audio_input_tokens=1000, audio_output_tokens=1000))
    usage = TokensUsage(input_tokens=13, output_tokens=9, total_tokens=22, input_token_details={"audio_tokens": 13})
    cost.add(used_to_hear("relay", 2.0, usage))
    shown = cost.shown()
    assert shown is not None
    assert (shown["total"], shown["subtotal"]) == (None, 0.096)
    assert shown["missing"] == ["prices.relay.per_audio_minute"]


def test_what_a_backend_counted_is_split_by_kind() -> None:
    cached = CachedTokens(text_tokens=60, audio_tokens=40)
    given = InputTokens(text_tokens=200, audio_tokens=300, cached_tokens=100, cached_tokens_details=cached)
    made = OutputTokens(text_tokens=20, audio_tokens=80)
    usage = Usage(
        total_tokens=600, input_tokens=500, output_tokens=100, input_token_details=given, output_token_details=made
    )
    assert used_tokens("backend", "relay", usage) == Used(
        "backend",
        "relay",
        input_tokens=140,
        cached_tokens=100,
        output_tokens=20,
        audio_input_tokens=260,
        audio_output_tokens=80,
    )


# -- who tells


class Counting(Mind):
    """Counts its tokens."""

    async def generate(self, request: Any) -> Any:
        yield TextProduced(request.run, "Nine. Ten.")
        usage = Usage(total_tokens=30, input_tokens=20, output_tokens=10, input_token_details=InputTokens())
        yield GenerationFinished(request.run, "stop", usage)


def told(work: Any) -> list[Used]:
    """Return what is told while something is done for somebody."""
    found: list[Used] = []

    async def whole() -> None:
        await asyncio.get_running_loop().create_task(work(), context=metered(found.append))

    asyncio.run(whole())
    return found


def minds(*parts: Any) -> OrderedMind:
    return OrderedMind(Order("llm", seats(*parts), lambda: 0.0))


def test_tokens_are_those_of_the_backend_that_answered() -> None:
    async def work() -> None:
        mind = minds(Mind("", "break"), Counting(""))
        async for _ in mind.generate(request(caller("When?"))):
            pass

    assert told(work) == [Used("llm", "b1", input_tokens=20, output_tokens=10)]


def test_an_answer_that_was_broken_off_or_not_counted_is_estimated() -> None:
    async def interrupted() -> None:
        async with aclosing(minds(Counting("")).generate(request(caller("When do you open?")))) as outputs:
            await anext(outputs)

    async def uncounted() -> None:
        async for _ in minds(Mind("Nine.")).generate(request(caller("When do you open?"))):
            pass

    for work in (interrupted, uncounted):
        (used,) = told(work)
        assert used.estimated
        assert used.input_tokens > 10
        assert used.output_tokens > 0


def test_a_backend_that_was_not_reached_costs_nothing() -> None:
    async def work() -> None:
        with pytest.raises(ModelError):
            async for _ in minds(Mind("", "break")).generate(request(caller("When?"))):
                pass

    assert told(work) == []


def test_what_was_heard_and_what_was_said_is_told_by_the_one_who_did_it() -> None:
    speech = Speech(bytes(16000), 8000)

    async def work() -> None:
        ear = OrderedEar(Order("stt", seats(Ear("", fails=1), Ear("two")), lambda: 0.0))
        voice = OrderedVoice(Order("tts", seats(ScriptedVoice()), lambda: 0.0))
        async for _ in ear.transcribe(speech, None):
            pass
        async for _ in voice.speak("We open.", "marin", 1.0):
            pass

    heard, said = told(work)
    assert heard == Used("stt", "b1", audio_s=1.0)
    assert (said.backend, said.characters, said.audio_s) == ("b0", 8, 0.52)


def test_a_turn_that_was_heard_early_is_paid_once() -> None:
    async def work() -> None:
        ear = OrderedEar(Order("stt", seats(EarlyEar("one")), lambda: 0.0))
        hearing = ear.hear_early(Speech(bytes(16000), 8000), None)
        assert hearing is not None
        for _ in range(2):
            async for _ in hearing.words():
                pass

    assert told(work) == [Used("stt", "b0", audio_s=1.0)]


def test_a_sentence_that_two_voices_began_is_paid_to_both() -> None:
    class Breaking(ScriptedVoice):
        async def speak(self, text: str, voice: Any, speed: float) -> Any:
            yield Sound(bytes(1600), 8000)
            raise ModelError("model_error", "It broke.")

    async def work() -> None:
        voice = OrderedVoice(Order("tts", seats(Breaking(), ScriptedVoice()), lambda: 0.0))
        async for _ in voice.speak("We open.", "marin", 1.0):
            pass

    assert [(used.backend, used.characters) for used in told(work)] == [("b0", 8), ("b1", 8)]


def test_work_that_is_for_nobody_is_told_to_nobody() -> None:
    tell(TOKENS)


class Paid(Talk):
    """A conversation with a backend that does everything by itself, and has a price."""

    def __init__(self, *, is_told: bool = False, **session: Any) -> None:
        price = Price(1.0, per_million_output_tokens=2.0, per_million_audio_output_tokens=3.0, per_audio_minute=0.6)
        prices = Prices("USD", {"mine": price}, whole="mine", is_told=is_told)
        self.watch = Watch(Metrics(), seed=b"seed", epoch_s=0.0, prices=prices)
        super().__init__(**session)

    def happens(self, event: Any, *, after_s: float = 0.0) -> list[dict[str, Any]]:
        self.now += after_s
        outputs = self.engine.handle(event, self.now)
        self.watch.see(event, outputs, self.now)
        return self._take(outputs)

    @property
    def answers(self) -> dict[str, Any] | None:
        """What the answers have cost."""
        shown = self.watch.cost.shown()
        assert shown is not None
        return next((part for part in shown["parts"] if part["part"] == "backend"), None)


USAGE = Usage(total_tokens=3000, input_tokens=2000, output_tokens=1000)


def test_a_backend_that_does_everything_is_paid_by_its_responses_and_transcripts() -> None:
    talk = Paid()
    talk.client("response.create")
    talk.happens(GenerationFinished(talk.generate().run, "stop", USAGE))
    assert talk.answers is not None
    assert (talk.answers["amount"], talk.answers["estimated"]) == (0.004, False)
    talk.watch.see(TranscriptCompleted("item_1", "Hello.", 1.0, ()), [], 2.0)
    assert talk.watch.cost.total == pytest.approx(0.004 + 0.01)


@pytest.mark.parametrize("ending", ["uncounted", "failed", "cancelled", "hung up"])
def test_what_a_backend_that_does_everything_did_not_count_is_estimated(ending: str) -> None:
    """Symptom: an estimate of ours passed for what the backend had counted."""
    talk = Paid(instructions="Be brief. " * 100)
    talk.client("response.create")
    run = talk.generate().run
    talk.happens(TextProduced(run, "We open at nine."))
    match ending:
        case "uncounted":
            talk.happens(GenerationFinished(run))
        case "failed":
            talk.happens(GenerationFailed(run, "server_error", "It broke."))
        case "cancelled":
            talk.client("response.cancel")
        case _:
            talk.watch.see(None, talk.engine.close(talk.now), talk.now)
    assert talk.answers is not None
    assert talk.answers["estimated"] is True
    assert talk.answers["amount"] > 0.0002


def test_a_response_that_no_backend_was_asked_for_costs_nothing() -> None:
    talk = Paid(
        options=EngineOptions(needs_transcripts=True), audio={"input": {"transcription": {"model": "whisper-1"}}}
    )
    talk.says()
    assert talk.count(do.Generate) == 0, "it waits for the words"
    talk.client("response.cancel")
    assert one(talk.sent, "response.done")["response"]["status"] == "cancelled"
    assert talk.answers is None


def test_what_a_relay_tells_of_its_responses_is_not_counted_twice() -> None:
    talk = Paid(is_told=True)
    talk.client("response.create")
    talk.happens(GenerationFinished(talk.generate().run, "stop", USAGE))
    assert talk.answers is None


# -- the settings


def refusal(tmp_path: Path, toml: str, **flags: Any) -> str:
    path = tmp_path / "offhook.toml"
    path.write_text(toml, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(flags, {}, path)
    problem = caught.value
    return f"{problem.key.removeprefix(f'{tmp_path}/')}: {problem.message} / {problem.mend}"


@pytest.mark.parametrize(
    ("toml", "flags", "says"),
    [
        ("prices = 7", {}, "prices: is not a table / write [prices.NAME]"),
        ("[prices.chta]\nper_audio_minute = 1", {}, "prices.chta: is no backend / there are chat, demo"),
        (
            "[prices.chat]\nper_token = 1",
            {},
            "object contains unknown field `per_token` / a price has per_",
        ),
        ("[prices.chat]\nper_audio_minute = '1'", {}, "prices.chat: expected `float | null`, got `str`"),
        ("[prices.chat]\nper_audio_minute = -1", {}, "prices.chat.per_audio_minute: '-1.0' is no price"),
        ("[prices.chat]\nper_audio_minute = inf", {}, "prices.chat.per_audio_minute: 'inf' is no price"),
        ("[prices.chat]\nper_audio_minute = nan", {}, "prices.chat.per_audio_minute: 'nan' is no price"),
        ("", {"currency": 'U"D'}, "--currency: 'U\"D' is no currency"),
    ],
)
def test_a_price_that_means_nothing_refuses_to_start(
    tmp_path: Path, toml: str, flags: dict[str, Any], says: str
) -> None:
    assert says in refusal(tmp_path, toml, **flags)


def test_prices_are_those_of_the_backends(tmp_path: Path) -> None:
    path = tmp_path / "offhook.toml"
    tables = "[backends.fast]\nplugin = 'chat'\n[prices.fast]\nper_million_input_tokens = 1\n"
    path.write_text(f"llm = 'fast'\ncurrency = 'EUR'\n{tables}", encoding="utf-8")
    prices = load_config({}, {}, path).prices
    assert (prices.currency, dict(prices.of)) == ("EUR", {"fast": Price(per_million_input_tokens=1.0)})
    assert not load_config({}, {}).prices
    assert set(OURS) == BUILT_IN
