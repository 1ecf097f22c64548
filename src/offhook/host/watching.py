"""Watches one conversation from outside: how long its stages take, what it has used, and its trace when it wants one.

It reads what happened and what was decided about it, and changes nothing, so the conversation knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import msgspec

from offhook.host.cost import Cost, Prices
from offhook.model.metering import used_to_hear, used_tokens
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.telemetry.metrics import Metrics
from offhook.telemetry.trace import MAX_METADATA_BYTES, Span, Trace
from offhook.wire import server_events as ev
from offhook.wire.client_events import ConversationItemCreate
from offhook.wire.items import FunctionCall, FunctionCallOutput
from offhook.wire.session import Session, Tracing

# Runs whose sound may still be playing; functions whose output may still come. The oldest are forgotten.
MAX_REMEMBERED: Final = 256

_SESSION: Final = "session"


@dataclass(slots=True)
class _Asked:
    """A response that a model was asked for, and whether the model counted what it took.

    ``stand_in`` is the name of the one that gave it in the place of the one that was asked.
    """

    response_id: str
    is_counted: bool = False
    stand_in: str = ""


@dataclass(slots=True)
class _Run:
    """When what came of one request to a model; ``answers_at`` is when the caller had spoken the turn it answers."""

    response_id: str
    asked_at: float
    answers_at: float | None
    first_word_at: float | None = None
    first_sound_at: float | None = None


class Usage(msgspec.Struct):
    """What a session has used so far."""

    responses: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    heard_seconds: float = 0.0


class Watch:
    """Sees every input of one session with its outputs. ``epoch_s`` is the Unix time of the clock's zero."""

    def __init__(
        self, metrics: Metrics, *, seed: bytes, epoch_s: float, prices: Prices | None = None, **names: str
    ) -> None:
        self.usage = Usage()
        self.cost = Cost(Prices() if prices is None else prices, metrics)
        self._metrics = metrics
        self._seed = seed
        self._epoch_s = epoch_s
        self._names = names
        self._trace: Trace | None = None
        self._began = 0.0
        self._heard: dict[str, float] = {}
        self._runs: dict[int, _Run] = {}
        self._asked: dict[int, _Asked] = {}
        self._tools: dict[str, float] = {}
        self._spoken_at: float | None = None
        self._parts_billed: dict[str, bool] = {}

    # -- driving

    def open(self, session: Session, outputs: Iterable[Any], now: float) -> None:
        """The session began."""
        self._began = now
        self._begin_trace(session, now)
        self._see_outputs(outputs, now)

    def see(self, event: object, outputs: Iterable[Any], now: float) -> None:
        """An input came, and this followed from it."""
        look = self._INPUTS.get(type(event))
        if look is not None:
            look(self, event, now)
        self._see_outputs(outputs, now)

    def _see_outputs(self, outputs: Iterable[Any], now: float) -> None:
        for output in outputs:
            told = output.event if type(output) is do.Send else output
            look = self._OUTPUTS.get(type(told))
            if look is not None:
                look(self, told, now)

    @property
    def spans(self) -> Sequence[Span]:
        """The spans that have ended so far; none when the session wants no trace."""
        return self._trace.spans if self._trace is not None else ()

    def bill_parts(self, item_id: str) -> None:
        """The words of a turn are no work of the backend that does everything: who hears them tells what it takes."""
        _remember(self._parts_billed, item_id, True)

    def bill_stand_in(self, number: int, name: str) -> None:
        """A response is the work of another backend that does everything, with this name in the settings."""
        asked = self._asked.get(number)
        if asked is not None:
            asked.stand_in = name

    def stop(self, now: float) -> None:
        """The session has ended, but what was said last may still be transcribed."""
        if self._trace is not None:
            self._trace.finish_all(now, but={f"hear {item_id}" for item_id in self._heard})

    def close(self, now: float) -> Sequence[Span]:
        """Nothing more will come: return all spans."""
        if self._trace is not None:
            self._trace.finish_all(now)
        return self.spans

    def usage_shown(self) -> dict[str, Any]:
        """Return what the session has used, as a record shows it."""
        usage = self.usage
        return {
            "responses": usage.responses,
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "heard_seconds": round(usage.heard_seconds, 3),
        }

    # -- the trace

    def _begin_trace(self, session: Session, now: float) -> None:
        wanted = session.tracing
        if wanted is None or self._trace is not None:
            return
        self._trace = Trace(self._seed, self._epoch_s)
        attributes: dict[str, Any] = self._names | {"session_id": session.id, "model": session.model}
        if isinstance(wanted, Tracing):
            attributes["workflow_name"] = wanted.workflow_name or None
            attributes["group_id"] = wanted.group_id or None
            metadata = msgspec.json.encode(wanted.metadata or {})
            attributes["metadata"] = metadata.decode() if 2 < len(metadata) <= MAX_METADATA_BYTES else None
        self._trace.begin(_SESSION, "session", now, **attributes)

    def _begin(self, key: str, name: str, now: float, parent: str = _SESSION, **attributes: Any) -> None:
        if self._trace is not None:
            self._trace.begin(key, name, now, parent=parent, **attributes)

    def _finish(self, key: str, now: float, *, failed: bool = False, **attributes: Any) -> None:
        if self._trace is not None:
            self._trace.finish(key, now, failed=failed, **attributes)

    # -- turns

    def _updated(self, event: ev.SessionUpdated, now: float) -> None:
        self._begin_trace(event.session, now)

    def _speech_started(self, event: ev.SpeechStarted, now: float) -> None:
        self._begin(f"turn {event.item_id}", "turn", now, item_id=event.item_id)

    def _speech_stopped(self, event: ev.SpeechStopped, now: float) -> None:
        self._metrics.count("offhook_turns_total")
        self._finish(f"turn {event.item_id}", now)

    def _voice_stopped(self, event: happened.VoiceStopped, now: float) -> None:
        self._spoken_at = min(self._began + event.end_ms / 1000, now)

    def _hear(self, wanted: do.Hear, now: float) -> None:
        _remember(self._heard, wanted.item_id, now)
        self._begin(f"hear {wanted.item_id}", "hear", now, parent=f"turn {wanted.item_id}", item_id=wanted.item_id)

    def _transcript_completed(self, event: happened.TranscriptCompleted, now: float) -> None:
        self.usage.heard_seconds += event.seconds
        if (whole := self.cost.prices.whole) and self._parts_billed.pop(event.item_id, None) is None:
            self.cost.add(used_to_hear(whole, event.seconds, event.usage))
        self._transcript_ended(event.item_id, now, "completed")

    def _transcript_failed(self, event: happened.TranscriptFailed, now: float) -> None:
        if event.code == "not_wanted":
            self._heard.pop(event.item_id, None)
            self._finish(f"hear {event.item_id}", now)
        else:
            self._transcript_ended(event.item_id, now, "failed")

    def _transcript_ended(self, item_id: str, now: float, result: str) -> None:
        began = self._heard.pop(item_id, None)
        if began is not None:
            self._metrics.observe("offhook_hear_seconds", now - began)
            self._metrics.count("offhook_transcripts_total", result=result)
        self._finish(f"hear {item_id}", now, failed=result == "failed")

    # -- responses

    def _response_created(self, event: ev.ResponseCreated, now: float) -> None:
        response = event.response
        aside = True if response.conversation_id is None else None
        self._begin(f"response {response.id}", "response", now, response_id=response.id, out_of_band=aside)

    def _generate(self, request: do.Generate, now: float) -> None:
        _remember(self._runs, request.run, _Run(request.response_id, now, self._spoken_at))
        _remember(self._asked, request.run, _Asked(request.response_id))
        self._spoken_at = None
        self._begin(f"think {request.run}", "think", now, parent=f"response {request.response_id}")

    def _text_produced(self, event: happened.TextProduced, now: float) -> None:
        self._first_word(event.run, now)

    def _tool_call_started(self, event: happened.ToolCallStarted, now: float) -> None:
        self._first_word(event.run, now)

    def _first_word(self, number: int, now: float) -> None:
        run = self._runs.get(number)
        if run is None or run.first_word_at is not None:
            return
        run.first_word_at = now
        self._metrics.observe("offhook_think_seconds", now - run.asked_at)
        self._finish(f"think {number}", now)
        self._begin(f"speak {number}", "speak", now, parent=f"response {run.response_id}")

    def _audio_produced(self, event: happened.AudioProduced, now: float) -> None:
        run = self._runs.get(event.run)
        if run is None or run.first_sound_at is not None:
            return
        run.first_sound_at = now
        if run.first_word_at is not None:
            self._metrics.observe("offhook_speak_seconds", now - run.first_word_at)
        self._finish(f"speak {event.run}", now)

    def _generation_ended(self, event: happened.GenerationFinished | happened.GenerationFailed, now: float) -> None:
        run = self._runs.get(event.run)
        if run is not None:
            self._metrics.observe("offhook_generate_seconds", now - run.asked_at)
        failed = isinstance(event, happened.GenerationFailed)
        asked = self._asked.get(event.run)
        if asked is not None and isinstance(event, happened.GenerationFinished):
            asked.is_counted = event.usage is not None
        self._finish(f"think {event.run}", now, failed=failed)
        self._finish(f"speak {event.run}", now, failed=failed)

    def _response_done(self, event: ev.ResponseDone, now: float) -> None:
        response, used = event.response, event.response.usage
        self._metrics.count("offhook_responses_total", status=response.status)
        details = response.status_details
        if details is not None and details.reason == "turn_detected":
            self._metrics.count("offhook_interruptions_total")
        self.usage.responses += 1
        tokens: dict[str, int] = {}
        if used is not None:
            self._pay(response.id, used)
            tokens = {
                "input_tokens": used.input_tokens,
                "cached_tokens": used.input_token_details.cached_tokens,
                "output_tokens": used.output_tokens,
            }
            for name, count in tokens.items():
                setattr(self.usage, name, getattr(self.usage, name) + count)
                self._metrics.count("offhook_tokens_total", count, kind=name.removesuffix("_tokens"))
        for item in response.output:
            if isinstance(item, FunctionCall) and item.status == "completed" and item.call_id:
                _remember(self._tools, item.call_id, now)
                self._begin(f"tool {item.call_id}", "tool call", now, tool=item.name)
        error = details.error.code if details is not None and details.error else None
        failed = response.status == "failed"
        self._finish(f"response {response.id}", now, failed=failed, status=response.status, error=error, **tokens)

    def _pay(self, response_id: str, used: ev.Usage) -> None:
        """Take down the cost of a response that a model which does everything by itself was asked for."""
        prices = self.cost.prices
        run = next((run for run, asked in self._asked.items() if asked.response_id == response_id), None)
        if run is None:
            return
        asked = self._asked.pop(run)
        whole = asked.stand_in or ("" if prices.is_told else prices.whole)
        if whole:
            self.cost.add(replace(used_tokens("backend", whole, used), estimated=not asked.is_counted))

    def _playout_started(self, event: happened.PlayoutStarted, now: float) -> None:
        run = self._runs.get(event.run)
        if run is not None and run.answers_at is not None:
            self._metrics.observe("offhook_answer_seconds", now - run.answers_at)
            run.answers_at = None
        if run is not None:
            self._begin(f"play {event.run}", "play", now, parent=f"response {run.response_id}")

    def _playout_ended(self, event: happened.PlayoutFinished | happened.PlayoutStopped, now: float) -> None:
        self._runs.pop(event.run, None)
        self._finish(f"play {event.run}", now, played_ms=event.played_ms)

    # -- tools

    def _call_mcp(self, wanted: do.CallMcpTool, now: float) -> None:
        _remember(self._tools, wanted.item_id, now)
        label = wanted.server.server_label
        self._begin(f"tool {wanted.item_id}", "tool call", now, tool=wanted.name, mcp_server=label)

    def _mcp_finished(self, event: happened.McpCallFinished, now: float) -> None:
        self._tool_ended(event.item_id, now, "mcp", failed=event.error is not None)

    def _client_sent(self, event: happened.ClientSent, now: float) -> None:
        sent = event.event
        if isinstance(sent, ConversationItemCreate) and isinstance(sent.item, FunctionCallOutput):
            self._tool_ended(sent.item.call_id, now, "function", failed=False)

    def _tool_ended(self, key: str, now: float, kind: str, *, failed: bool) -> None:
        began = self._tools.pop(key, None)
        if began is not None:
            self._metrics.observe("offhook_tool_seconds", now - began)
            self._metrics.count("offhook_tool_calls_total", kind=kind, result="failed" if failed else "completed")
        self._finish(f"tool {key}", now, failed=failed)

    def _list_mcp(self, wanted: do.ListMcpTools, now: float) -> None:
        self._begin(f"list {wanted.item_id}", "list tools", now, mcp_server=wanted.server.server_label)

    def _mcp_listed(self, event: happened.McpToolsListed | happened.McpListFailed, now: float) -> None:
        error = event.message if isinstance(event, happened.McpListFailed) else None
        self._finish(f"list {event.item_id}", now, failed=error is not None, error=error)

    _INPUTS: ClassVar[dict[type, Callable[..., None]]] = {
        happened.VoiceStopped: _voice_stopped,
        happened.TranscriptCompleted: _transcript_completed,
        happened.TranscriptFailed: _transcript_failed,
        happened.TextProduced: _text_produced,
        happened.ToolCallStarted: _tool_call_started,
        happened.AudioProduced: _audio_produced,
        happened.GenerationFinished: _generation_ended,
        happened.GenerationFailed: _generation_ended,
        happened.PlayoutStarted: _playout_started,
        happened.PlayoutFinished: _playout_ended,
        happened.PlayoutStopped: _playout_ended,
        happened.McpCallFinished: _mcp_finished,
        happened.McpToolsListed: _mcp_listed,
        happened.McpListFailed: _mcp_listed,
        happened.ClientSent: _client_sent,
    }
    _OUTPUTS: ClassVar[dict[type, Callable[..., None]]] = {
        do.Hear: _hear,
        do.Generate: _generate,
        do.CallMcpTool: _call_mcp,
        do.ListMcpTools: _list_mcp,
        ev.SessionUpdated: _updated,
        ev.SpeechStarted: _speech_started,
        ev.SpeechStopped: _speech_stopped,
        ev.ResponseCreated: _response_created,
        ev.ResponseDone: _response_done,
    }


def _remember(table: dict[Any, Any], key: object, value: object) -> None:
    table[key] = value
    if len(table) > MAX_REMEMBERED:
        del table[next(iter(table))]
