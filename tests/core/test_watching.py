"""What is seen of a conversation from outside: its trace, its stages, what it has used."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.core.talk import SocketTalk, Talk, one
from tests.matrix import obeys, refuses

from offhook.host.watching import Watch
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.settings import WITHOUT_EFFECT
from offhook.telemetry.metrics import COUNTERS, HISTOGRAMS, Metrics
from offhook.telemetry.otlp import encode_spans
from offhook.telemetry.trace import MAX_SPANS, Span, Trace
from offhook.wire.items import McpListedTool

NAMED = {"workflow_name": "front desk", "group_id": "shop 7", "metadata": {"plan": "gold"}}


class Watched(Talk):
    """A conversation with somebody who watches it."""

    def __init__(self, **session: Any) -> None:
        self.metrics = Metrics()
        self.watch = Watch(self.metrics, seed=b"seed", epoch_s=1000.0, call_id="rtc_1")
        super().__init__(**session)
        self.watch.open(self.engine.session, self.done, self.now)

    def happens(self, event: happened.Input, *, after_s: float = 0.0) -> list[dict[str, Any]]:
        self.now += after_s
        outputs = self.engine.handle(event, self.now)
        self.watch.see(event, outputs, self.now)
        return self._take(outputs)

    def ends(self) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = {}
        outputs = self.engine.close(self.now)
        self.watch.see(None, outputs, self.now)
        for span in self.watch.close(self.now):
            found.setdefault(span.name, []).append(span)
        return found


class WatchedOnSocket(Watched, SocketTalk):
    """The same on a socket."""


def a_turn(talk: Watched) -> None:
    """The caller asks, the model thinks for 0.3 s, speaks after 0.2 s, and is heard."""
    talk.says()
    talk.happens(happened.TranscriptCompleted(talk.last(do.Hear).item_id, "Hello?", 1.5), after_s=0.1)
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "We open at nine."), after_s=0.2)
    talk.happens(happened.AudioProduced(run, b"", 8000, 900.0, "We open at nine."), after_s=0.2)
    talk.happens(happened.PlayoutStarted(run))
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.PlayoutFinished(run, 900), after_s=0.9)


def figure(metrics: Metrics, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics.text({}), re.MULTILINE)
    assert found, name
    return float(found[1])


def test_every_stage_of_a_turn_is_a_span() -> None:
    talk = Watched(tracing=NAMED, audio={"input": {"transcription": {"model": "whisper-1"}}})
    a_turn(talk)
    spans = talk.ends()
    assert set(spans) == {"session", "turn", "hear", "response", "think", "speak", "play"}
    ids = {span.span_id: span.name for each in spans.values() for span in each}
    parents = {name: ids.get(each[0].parent_id or "") for name, each in spans.items()}
    assert parents == {
        "session": None,
        "turn": "session",
        "hear": "turn",
        "response": "session",
        "think": "response",
        "speak": "response",
        "play": "response",
    }
    assert {span.trace_id for each in spans.values() for span in each} == {talk.watch.spans[0].trace_id}
    session = spans["session"][0].attributes
    assert (session["workflow_name"], session["group_id"]) == ("front desk", "shop 7")
    assert (session["metadata"], session["call_id"]) == ('{"plan":"gold"}', "rtc_1")
    assert spans["think"][0].end_s - spans["think"][0].start_s == pytest.approx(0.3)
    assert spans["speak"][0].end_s - spans["speak"][0].start_s == pytest.approx(0.2)
    assert spans["response"][0].attributes["status"] == "completed"
    assert spans["session"][0].start_s == 1100.0, "times are Unix times"
    assert "nine" not in str(spans), "nothing that was said"


def test_without_tracing_there_is_no_trace_but_figures() -> None:
    talk = Watched()
    a_turn(talk)
    assert talk.ends() == {}
    assert figure(talk.metrics, "offhook_answer_seconds_count") == 1
    assert figure(talk.metrics, "offhook_answer_seconds_sum") == pytest.approx(0.5 + 0.5)
    assert figure(talk.metrics, 'offhook_responses_total{status="completed"}') == 1
    assert talk.watch.usage_shown()["heard_seconds"] == 1.5


@pytest.mark.parametrize("kind", [Watched, WatchedOnSocket])
@refuses("session.update", "session(realtime).tracing(null)")
def test_a_trace_begins_when_it_is_asked_for_and_cannot_be_changed(kind: type[Watched]) -> None:
    talk = kind()
    a_turn(talk)
    talk.client("session.update", session={"type": "realtime", "tracing": "auto"})
    for other in (None, NAMED):
        error = one(talk.client("session.update", session={"type": "realtime", "tracing": other}), "error")["error"]
        assert error["param"] == "session.tracing"
        assert talk.engine.session.tracing == "auto"
    a_turn(talk)
    spans = talk.ends()
    assert (len(spans["session"]), len(spans["turn"])) == (1, 1)
    assert "tracing" not in WITHOUT_EFFECT


@pytest.mark.parametrize("kind", [Watched, WatchedOnSocket])
@obeys("session.update", *(f"session(realtime).tracing.{name}" for name in ("workflow_name", "group_id", "metadata")))
def test_a_trace_that_an_update_begins_has_its_names(kind: type[Watched]) -> None:
    talk = kind()
    talk.client("session.update", session={"type": "realtime", "tracing": NAMED})
    talk.says()
    told = talk.ends()["session"][0].attributes
    assert (told["workflow_name"], told["group_id"]) == ("front desk", "shop 7")
    assert "gold" in str(told)


@pytest.mark.parametrize("kind", [Watched, WatchedOnSocket])
@obeys("session.update", "session(realtime).tracing")
def test_an_update_to_auto_begins_a_trace_and_one_to_null_does_not(kind: type[Watched]) -> None:
    talk = kind()
    for wanted in (None, "auto"):
        told = one(talk.client("session.update", session={"type": "realtime", "tracing": wanted}), "session.updated")
        assert told["session"]["tracing"] == wanted
        talk.says()
        assert bool(talk.watch.spans) is (wanted == "auto")
    spans = talk.ends()
    assert len(spans["turn"]) == 1, "what was before it is not in the trace"
    assert "workflow_name" not in spans["session"][0].attributes


def test_tool_calls_are_spans_and_figures() -> None:
    server = {"type": "mcp", "server_label": "crm", "server_url": "https://x.example", "require_approval": "never"}
    talk = Watched(tracing="auto", tools=[{"type": "function", "name": "f"}, server])
    listed = (McpListedTool(name="lookup", input_schema={}),)
    talk.happens(happened.McpToolsListed(talk.last(do.ListMcpTools).item_id, listed))
    talk.client("response.create")
    run = talk.generate().run
    talk.happens(happened.ToolCallStarted(run, 0, "f", "call_1"))
    talk.happens(happened.ToolCallStarted(run, 1, "crm__lookup"))
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.McpCallFinished(talk.last(do.CallMcpTool).item_id, "x"), after_s=0.5)
    output = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
    talk.client("conversation.item.create", item=output)
    spans = talk.ends()
    assert [span.attributes["tool"] for span in spans["tool call"]] == ["lookup", "f"]
    assert spans["list tools"][0].attributes["mcp_server"] == "crm"
    assert figure(talk.metrics, 'offhook_tool_calls_total{kind="mcp",result="completed"}') == 1
    assert figure(talk.metrics, 'offhook_tool_calls_total{kind="function",result="completed"}') == 1


def test_what_failed_is_marked() -> None:
    talk = Watched(tracing="auto")
    talk.client("response.create")
    talk.happens(happened.GenerationFailed(talk.generate().run, "model_unavailable", "gone"))
    spans = talk.ends()
    assert spans["response"][0].failed
    assert spans["response"][0].attributes["error"] == "model_unavailable"
    assert not spans["session"][0].failed


def test_a_trace_has_a_limit() -> None:
    trace = Trace(b"", 0.0)
    for number in range(MAX_SPANS + 10):
        trace.begin(str(number), "x", 0.0)
        trace.finish(str(number), 1.0)
    assert (len(trace.spans), trace.dropped) == (MAX_SPANS, 10)


def test_spans_in_the_json_of_otlp() -> None:
    attributes = {"a": 1, "b": 0.5, "c": True, "d": "x"}
    span = Span("0" * 32, "1" * 16, None, "think", 1.5, 2.0, True, attributes)
    (resource,) = json.loads(encode_spans([span], "1"))["resourceSpans"]
    (sent,) = resource["scopeSpans"][0]["spans"]
    assert (sent["startTimeUnixNano"], sent["endTimeUnixNano"]) == ("1500000000", "2000000000")
    assert (sent["parentSpanId"], sent["status"]) == ("", {"code": 2})
    values = {each["key"]: each["value"] for each in sent["attributes"]}
    assert values == {
        "a": {"intValue": "1"},
        "b": {"doubleValue": 0.5},
        "c": {"boolValue": True},
        "d": {"stringValue": "x"},
    }


def test_the_text_of_the_figures() -> None:
    metrics = Metrics()
    metrics.observe("offhook_think_seconds", 0.3)
    metrics.observe("offhook_think_seconds", 99.0)
    metrics.observe("offhook_think_seconds", -1.0)
    text = metrics.text({"offhook_calls_active": ("calls in progress", 2)})
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]+"(,[a-z]+="[^"]+")*\})? [0-9.e+-]+', line) for line in lines)
    names = {re.split(r"[{ ]", line)[0] for line in lines}
    assert names >= (set(COUNTERS) - {"offhook_cost_total"}) | {f"{name}_bucket" for name in HISTOGRAMS} | {
        "offhook_calls_active"
    }
    assert text.endswith("offhook_calls_active 2\n")
    assert 'offhook_think_seconds_bucket{le="0.2"} 1\n' in text
    assert 'offhook_think_seconds_bucket{le="0.3"} 2\n' in text, "a bound belongs to its bucket"
    assert 'offhook_think_seconds_bucket{le="+Inf"} 3\n' in text
