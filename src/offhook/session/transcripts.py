"""The words of the caller: which items still lack them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, UnsetType

from offhook.session import inputs as happened
from offhook.wire import server_events as ev
from offhook.wire.items import InputAudio, LogProb, Message
from offhook.wire.models import tells_speakers
from offhook.wire.session import TranscriptionEcho

if TYPE_CHECKING:
    from offhook.session.engine import Engine

# Source: API reference, "conversation.item.input_audio_transcription.completed".
TELL_LANGUAGES: Final = frozenset({"gpt-transcribe", "gpt-live-transcribe"})


class Transcripts:
    """Puts transcripts into their items, and reports them when the session wants that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._expected: dict[str, TranscriptionEcho | None] = {}
        # What deltas have told, and what of the transcript has come: the one may begin before the other.
        self._told: dict[str, str] = {}
        self._come: dict[str, str] = {}

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
        self._settle(item_id)

    def let_go(self, item_id: str) -> None:
        """An item is not spoken any more; unless it was committed, nothing comes of it."""
        if item_id not in self._expected:
            self._settle(item_id)

    def tell(self, item_id: str, words: str) -> None:
        """Send words of a turn that goes on."""
        self._told[item_id] = self._told.get(item_id, "") + words
        self._send(item_id, words, ())

    def grow(self, event: happened.TranscriptGrew) -> None:
        """Some words came in."""
        item_id = event.item_id
        if self._expected.get(item_id) is None:
            return
        told = self._told.get(item_id)
        if told is None:
            self._send(item_id, event.delta, event.logprobs)
            return
        come = self._come[item_id] = self._come.get(item_id, "") + event.delta
        # Where the words have become others, they are told all together when they are complete.
        if len(come) > len(told) and come.startswith(told):
            self._told[item_id] = come
            self._send(item_id, come[len(told) :], ())

    def segment(self, event: happened.SegmentHeard) -> None:
        """It is known who said some of the words."""
        wanted = self._expected.get(event.item_id)
        if wanted is None or not tells_speakers(wanted.model):
            return
        engine = self._engine
        engine.send(
            ev.TranscriptionSegment(
                event_id=engine.ids.event(),
                item_id=event.item_id,
                content_index=0,
                id=engine.ids.segment(),
                text=event.text,
                speaker=event.speaker,
                start=round(event.start_s, 3),
                end=round(event.end_s, 3),
            )
        )

    def _send(self, item_id: str, words: str, logprobs: tuple[LogProb, ...]) -> None:
        engine = self._engine
        engine.send(
            ev.TranscriptionDelta(
                event_id=engine.ids.event(),
                item_id=item_id,
                content_index=0,
                delta=words,
                logprobs=self._logprobs(logprobs),
                obfuscation=engine.ids.obfuscation(),
            )
        )

    def _settle(self, item_id: str) -> None:
        self._told.pop(item_id, None)
        self._come.pop(item_id, None)

    def complete(self, event: happened.TranscriptCompleted) -> None:
        """All words of an item are known; where they had been given up, only whoever answers reads them."""
        engine = self._engine
        item = engine.conversation.get(event.item_id)
        if isinstance(item, Message) and (event.item_id in self._expected or _lacks_words(item)):
            item = msgspec.structs.replace(item, content=(InputAudio(transcript=event.text),))
            engine.conversation.replace(item)
        if event.item_id not in self._expected:
            return
        wanted = self._expected.pop(event.item_id)
        if wanted is not None:
            engine.send(
                ev.TranscriptionCompleted(
                    event_id=engine.ids.event(),
                    item_id=event.item_id,
                    content_index=0,
                    transcript=event.text,
                    usage=event.usage or ev.DurationUsage(seconds=round(event.seconds, 3)),
                    languages=_languages(wanted, event.language),
                    logprobs=self._logprobs(event.logprobs),
                )
            )
        self._settle(event.item_id)
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
        self._settle(event.item_id)
        engine.settle(event.item_id)

    def _logprobs(self, given: tuple[LogProb, ...]) -> tuple[LogProb, ...] | UnsetType:
        return given if given and self._engine.session.include else UNSET


def _lacks_words(item: Message) -> bool:
    return any(isinstance(part, InputAudio) and part.transcript is None for part in item.content)


def _languages(wanted: TranscriptionEcho, language: str) -> tuple[ev.SpokenLanguage, ...] | UnsetType:
    """Return the languages that were found, for the models that tell; none is one that could not be found out."""
    if wanted.model not in TELL_LANGUAGES:
        return UNSET
    return (ev.SpokenLanguage(code=language),) if language else ()
