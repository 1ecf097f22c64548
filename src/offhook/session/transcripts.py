"""The words of the caller: which items still lack them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from offhook.session import inputs as happened
from offhook.wire import server_events as ev
from offhook.wire.items import InputAudio, LogProb, Message
from offhook.wire.session import TranscriptionEcho

if TYPE_CHECKING:
    from offhook.session.engine import Engine


class Transcripts:
    """Puts transcripts into their items, and reports them when the session wants that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._expected: dict[str, TranscriptionEcho | None] = {}

    def expect(self, item_id: str) -> None:
        """An item of the caller's speech was made; its words are reported as the session wants it now."""
        self._expected[item_id] = self._engine.session.audio.input.transcription

    @property
    def expected(self) -> Collection[str]:
        """The items whose words are not known yet."""
        return self._expected.keys()

    def forget(self, item_id: str) -> None:
        """An item was deleted: nobody waits for it."""
        self._expected.pop(item_id, None)

    def grow(self, event: happened.TranscriptGrew) -> None:
        """Some words came in."""
        if self._expected.get(event.item_id) is None:
            return
        engine = self._engine
        engine.send(
            ev.TranscriptionDelta(
                event_id=engine.ids.event(),
                item_id=event.item_id,
                content_index=0,
                delta=event.delta,
                logprobs=self._logprobs(event.logprobs),
                obfuscation=engine.ids.obfuscation(),
            )
        )

    def complete(self, event: happened.TranscriptCompleted) -> None:
        """All words of an item are known."""
        if event.item_id not in self._expected:
            return
        engine = self._engine
        item = engine.conversation.get(event.item_id)
        if isinstance(item, Message):
            item = msgspec.structs.replace(item, content=(InputAudio(transcript=event.text),))
            engine.conversation.replace(item)
        if self._expected.pop(event.item_id) is not None:
            engine.send(
                ev.TranscriptionCompleted(
                    event_id=engine.ids.event(),
                    item_id=event.item_id,
                    content_index=0,
                    transcript=event.text,
                    usage=ev.DurationUsage(seconds=round(event.seconds, 3)),
                    logprobs=self._logprobs(event.logprobs),
                )
            )
        engine.settle(event.item_id)

    def fail(self, event: happened.TranscriptFailed) -> None:
        """The words of an item will never be known; what waited for them goes on without."""
        if event.item_id not in self._expected:
            return
        engine = self._engine
        if self._expected.pop(event.item_id) is not None:
            failure = ev.TranscriptionFailure(type="server_error", code=event.code, message=event.message)
            engine.send(
                ev.TranscriptionFailed(
                    event_id=engine.ids.event(), item_id=event.item_id, content_index=0, error=failure
                )
            )
        engine.settle(event.item_id)

    def _logprobs(self, given: tuple[LogProb, ...]) -> tuple[LogProb, ...] | UnsetType:
        return given if given and self._engine.session.include else UNSET
