"""What upstream says of its responses, as the conversation here reads it from any model.

Source: API reference, "response.*" server events. Dialects leave some of them out: what a message or a function call
says is taken from its last event when nothing of it came before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from offhook.session import inputs as happened
from offhook.session.relay import limits
from offhook.session.relay.dialect import Dialect, FormatName
from offhook.session.relay.event import Response, UpstreamEvent, run_of, usage_of
from offhook.session.relay.meter import Meter
from offhook.session.relay.mirror import Mirror
from offhook.session.relay.post import ForNobody, Post
from offhook.session.relay.reserve import Reserve
from offhook.session.relay.runs import Answering, Asked, Ending, Over, Run, Runs
from offhook.session.relay.speech import heard_from
from offhook.wire import server_events as ev
from offhook.wire.items import FunctionCall, McpCall, Message

# A dialect without ids for its items has one message in a response.
_ONLY: Final = "only"


class Answers:
    """Follows the responses that were asked for. ``patience_s`` is how long upstream may be silent about one."""

    def __init__(
        self,
        dialect: Dialect,
        spoken: FormatName,
        post: Post,
        mirror: Mirror,
        runs: Runs,
        reserve: Reserve,
        meter: Meter,
        patience_s: float,
    ) -> None:
        self._dialect = dialect
        self._spoken = spoken
        self._post = post
        self._mirror = mirror
        self._runs = runs
        self._reserve = reserve
        self._meter = meter
        self._patience_s = patience_s
        self._now = 0.0

    def take(self, event: UpstreamEvent, kind: str, now: float) -> bool:
        """Take an event; False when it is none of a response. Raises UpstreamError for what cannot be read."""
        self._now = now
        if kind == "response.created":
            self._created(event)
            return True
        look = self._CONTENT.get(kind)
        if look is None and kind != "response.done":
            return kind.startswith("response.")
        response_id = event.response.id if event.response is not None else event.response_id
        run = self._running(response_id)
        if run is None:
            self._follow_foreign(event, response_id, is_end=look is None)
            return True
        _note(run.shown, event)
        if look is None:
            self._meter.counted(run, usage_of(event.response or Response()))
        match run.state:
            case Answering(response_id=known):
                run.state = Answering(known, now + self._patience_s)
                if look is None:
                    self._done(run, event.response or Response())
                else:
                    look(self, run, event)
            case Ending(response_id=known) if look is None:
                run.state = Over(known)
                self.clean_up(run)
            case _:
                pass
        return True

    def _follow_foreign(self, event: UpstreamEvent, response_id: str | None, *, is_end: bool) -> None:
        shown = self._runs.foreign(response_id)
        if shown is None:
            return
        _note(shown, event)
        if is_end:
            self._meter.foreign(usage_of(event.response or Response()))
            self._delete(shown)
            shown.clear()

    def clean_up(self, run: Run) -> None:
        """Let upstream forget what nobody heard of a response that was stopped."""
        if not run.request.aside:
            self._delete(run.unheard())

    def _delete(self, item_ids: list[str]) -> None:
        for item_id in item_ids:
            if self._dialect.deletes and item_id != _ONLY:
                self._post.send("conversation.item.delete", ForNobody(), item_id=item_id)

    def _running(self, response_id: str | None) -> Run | None:
        """Return the response that an event is about; one that begins without ``response.created`` begins now."""
        run = self._runs.begun(response_id)
        if run is None and not self._runs.was_over(response_id) and self._runs.foreign(response_id) is None:
            run = self._begin(response_id or _ONLY)
        return run

    def _created(self, event: UpstreamEvent) -> None:
        response_id = event.response.id if event.response is not None else None
        named = None if event.response is None else run_of(event.response)
        known = self._runs.begun(response_id or _ONLY) or self._begin(response_id or _ONLY, named)
        if known is None and response_id:
            # Nobody asked for it, or nobody waits for it any more: some upstreams answer by themselves.
            self._runs.shun(response_id)
            self._post.send("response.cancel", ForNobody(), response_id=response_id)

    def _begin(self, response_id: str, named: int | None = None) -> Run | None:
        run = self._runs.asked(named)
        if run is None:
            return None
        match run.state:
            case Asked():
                run.state = Answering(response_id, self._now + self._patience_s)
            case Ending(until=until):
                run.state = Ending(response_id, until)
                self.cancel_upstream(response_id)
            case _:
                return None
        return run

    def cancel_upstream(self, response_id: str) -> None:
        """Stop a response there."""
        members = {} if response_id == _ONLY else {"response_id": response_id}
        self._post.send("response.cancel", ForNobody(), **members)

    # -- content

    def _item_added(self, run: Run, event: UpstreamEvent) -> None:
        item = event.item
        if item is None or item.type != "function_call" or not item.id:
            return
        self._start_call(run, item.id, item.name, item.call_id)

    def _start_call(self, run: Run, item_id: str, name: str | None, call_id: str | None) -> None:
        item_id = run.call_of(item_id, call_id)
        if item_id not in run.calls and name and len(run.calls) < limits.MAX_OUTPUT_ITEMS:
            run.calls[item_id] = call_id or ""
            self._post.tell([happened.ToolCallStarted(run.number, run.call_index(item_id), name, call_id or None)])

    def _words(self, run: Run, event: UpstreamEvent) -> None:
        self._say(run, event.item_id or _ONLY, event.delta or "")

    def _say(self, run: Run, item_id: str, words: str) -> None:
        if words.strip() or (words and item_id in run.messages):
            run.worded.add(run.messages[self._message(run, item_id)])
            self._post.tell([happened.TextProduced(run.number, words)])

    def _message(self, run: Run, item_id: str) -> int:
        """Return the number of a message; one that follows another ends it, also here."""
        known = len(run.messages)
        number = run.message_number(item_id)
        if 0 < known < len(run.messages):
            self._post.tell([happened.MessageEnded(run.number)])
        return number

    def _words_done(self, run: Run, event: UpstreamEvent) -> None:
        item_id = event.item_id or _ONLY
        is_one_too_many = item_id not in run.messages and len(run.messages) >= limits.MAX_OUTPUT_ITEMS
        if item_id not in run.worded and not is_one_too_many:
            self._say(run, item_id, event.transcript or event.text or "")

    def _sound(self, run: Run, event: UpstreamEvent) -> None:
        item_id = event.item_id or _ONLY
        rate_hz = event.sample_rate_hz or self._dialect.pcm_out_hz
        pcm, rate_hz = heard_from(event.delta or event.audio or "", self._spoken, rate_hz)
        if not pcm:
            return
        duration_ms = len(pcm) / 2 * 1000 / rate_hz
        number = self._message(run, item_id)
        named = run.messages[number]
        run.produced_ms[named] = run.produced_ms.get(named, 0.0) + duration_ms
        self._post.tell([happened.AudioProduced(run.number, pcm, rate_hz, duration_ms, message=number)])

    def _arguments(self, run: Run, event: UpstreamEvent) -> None:
        item_id = run.call_of(event.item_id or event.call_id or _ONLY, event.call_id)
        if item_id in run.calls and event.delta:
            run.worded.add(item_id)
            delta = happened.ToolArgumentsProduced(run.number, run.call_index(item_id), event.delta)
            self._post.tell([delta])

    def _arguments_done(self, run: Run, event: UpstreamEvent) -> None:
        item_id = event.item_id or event.call_id or _ONLY
        is_news = run.call_of(item_id, event.call_id) not in run.calls
        self._start_call(run, item_id, event.name, event.call_id)
        if is_news and not event.item_id and item_id in run.calls:
            run.unnamed.add(item_id)
        self._all_arguments(run, run.call_of(item_id, event.call_id), event.arguments)

    def _item_done(self, run: Run, event: UpstreamEvent) -> None:
        item = event.item
        if item is not None and item.type == "function_call" and item.id:
            self._start_call(run, item.id, item.name, item.call_id)
            self._all_arguments(run, run.call_of(item.id, item.call_id), item.arguments)

    def _all_arguments(self, run: Run, item_id: str, arguments: str | None) -> None:
        if item_id in run.calls and item_id not in run.worded and arguments:
            run.worded.add(item_id)
            whole = happened.ToolArgumentsProduced(run.number, run.call_index(item_id), arguments)
            self._post.tell([whole])

    _CONTENT: ClassVar[dict[str, Callable[[Answers, Run, UpstreamEvent], None]]] = {
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.output_audio.delta": _sound,
        "response.output_audio_transcript.delta": _words,
        "response.output_audio_transcript.done": _words_done,
        "response.output_text.delta": _words,
        "response.output_text.done": _words_done,
        "response.function_call_arguments.delta": _arguments,
        "response.function_call_arguments.done": _arguments_done,
    }

    # -- the end

    def _done(self, run: Run, response: Response) -> None:
        assert isinstance(run.state, Answering)
        run.state = Over(run.state.response_id)
        details = response.status_details
        reason = None if details is None else details.reason
        match response.status, reason:
            case (("completed" | None), _):
                self._post.tell([happened.GenerationFinished(run.number, "stop", run.counted)])
            case "incomplete", ("max_output_tokens" | "content_filter") as why:
                self._post.tell([happened.GenerationFinished(run.number, why, run.counted)])
            case _:
                problem = None if details is None else details.error
                message = (problem and problem.message) or f"Upstream ended the response: {response.status}."
                code = str((problem and problem.code) or "server_error")
                self.fail(run, code, message, (problem and problem.type) or "server_error", now=self._now)

    def fail(self, run: Run, code: str, message: str, kind: str = "server_error", *, now: float) -> None:
        """End a response here; upstream may still be at it."""
        match run.state:
            case Answering(response_id=response_id):
                run.state = Ending(response_id, now + limits.CANCEL_S)
                self.cancel_upstream(response_id)
            case Asked():
                run.state = Ending(None, now + limits.CANCEL_S)
            case _:
                run.state = Over()
        self._reserve.fail(run, happened.GenerationFailed(run.number, code, message, kind))

    # -- which item is which

    def item_announced(self, event: ev.OutputItemAdded) -> None:
        """An item of a response was announced here: from now on it is known which one upstream it is."""
        run = self._runs.by_response(event.response_id)
        if run is None:
            return
        item, upstream_id = event.item, None
        match item:
            case Message() if run.paired_messages < len(run.messages):
                upstream_id = run.messages[run.paired_messages]
                run.paired_messages += 1
            case FunctionCall() | McpCall() if run.paired_calls < len(run.calls):
                upstream_id = list(run.calls)[run.paired_calls]
                run.paired_calls += 1
                if isinstance(item, McpCall):
                    self._mirror.call_ids[item.id] = run.calls[upstream_id]
            case _:
                return
        if not run.request.aside and upstream_id is not None:
            is_named = upstream_id != _ONLY and upstream_id not in run.unnamed
            self._mirror.put(str(item.id), upstream_id if is_named else None)


def _note(shown: list[str], event: UpstreamEvent) -> None:
    """Remember the message that an event begins or ends."""
    item = event.item
    if item is None or item.type != "message" or not item.id or item.id in shown:
        return
    if len(shown) < limits.MAX_OUTPUT_ITEMS:
        shown.append(item.id)
