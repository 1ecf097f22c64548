"""The caller's turns on their way upstream: streamed while they are spoken, committed when they are over."""

from __future__ import annotations

import msgspec

from offhook.session import inputs as happened
from offhook.session.relay import limits
from offhook.session.relay.dialect import Dialect, FormatName
from offhook.session.relay.mirror import Mirror
from offhook.session.relay.post import ForNobody, ForTurn, Post
from offhook.session.relay.speech import SpeechOut
from offhook.session.relay.steps import AudioGiven, ReadInput, SpokenSoFar, TurnSpoken
from offhook.wire.items import LogProb
from offhook.wire.server_events import TokensUsage


class _Stream(msgspec.Struct):
    """A turn that is being spoken: what is upstream of it. ``next_at`` is None when no more will come.

    ``sent`` is kept for the next connection, and None when it is too much for that.
    """

    start_ms: int
    upto_ms: int
    next_at: float | None
    out: SpeechOut | None = None
    sent: bytearray | None = msgspec.field(default_factory=bytearray)


class Turns:
    """Keeps the input buffer upstream in step with the turns here.

    Turns whose words are not known are kept, as far as `limits.MAX_KEPT_AUDIO_BYTES` go, for the next connection.
    """

    def __init__(self, dialect: Dialect, spoken: FormatName, post: Post, mirror: Mirror) -> None:
        self._dialect = dialect
        self._spoken = spoken
        self._post = post
        self._mirror = mirror
        self._stream: _Stream | None = None
        self._is_dirty = False
        self._kept: dict[str, bytes] = {}
        # How long the turns are whose words may still come, in seconds; None when nobody waits for them any more.
        self._awaited: dict[str, float | None] = {}

    @property
    def awaited(self) -> bool:
        """Whether the words of a turn may still come."""
        return any(seconds is not None for seconds in self._awaited.values())

    def awaits(self, item_id: str) -> bool:
        """Whether the words of this turn may still come."""
        return self._awaited.get(item_id) is not None

    def deadline(self) -> float | None:
        """Return when the next audio is due."""
        return None if self._stream is None else self._stream.next_at

    def disconnected(self) -> None:
        """The buffer upstream is gone, and so are the words of turns that cannot be sent again."""
        self._stream = None
        self._is_dirty = False
        for item_id in self._given_up():
            del self._awaited[item_id]
        for item_id in list(self._awaited):
            # Where a commit asks for an answer, one that was committed is not committed a second time.
            is_past = self._dialect.commit_answers and item_id in self._mirror
            if is_past or item_id not in self._kept:
                self.fail(item_id, "server_error", "The connection to the model was lost before it told the words.")

    # -- while somebody speaks

    def begin(self, start_ms: int, now: float) -> None:
        """The caller began to speak."""
        if self._dialect.streams_input:
            self._clear()
            self._stream = _Stream(start_ms, start_ms, now + limits.STREAM_MS / 1000)

    def pause(self) -> None:
        """The caller has stopped: what is left comes with the turn."""
        if self._stream is not None:
            self._stream.next_at = None

    def forget(self) -> None:
        """What was not committed does not count any more; who is speaking goes on."""
        self._stream = None
        self._clear()

    def _clear(self) -> None:
        if self._is_dirty:
            self._post.send("input_audio_buffer.clear", ForNobody())
            self._is_dirty = False

    def pass_deadline(self, now: float) -> None:
        """Ask for what was spoken meanwhile."""
        stream = self._stream
        if stream is not None and stream.next_at is not None and now >= stream.next_at:
            stream.next_at = now + limits.STREAM_MS / 1000
            self._post.do(ReadInput(stream.upto_ms, stream.upto_ms + limits.MAX_READ_MS))

    def grow(self, event: SpokenSoFar) -> None:
        """Send what was spoken, but for the last moments."""
        stream = self._stream
        per_ms = event.rate_hz // 1000 * 2
        ready_ms = len(event.pcm) // per_ms - limits.STREAM_LAG_MS
        if stream is None or event.start_ms != stream.upto_ms or ready_ms <= 0:
            return
        if stream.out is None:
            stream.out = SpeechOut(event.rate_hz, self._spoken, self._dialect)
        if stream.out.rate_hz != event.rate_hz:
            stream.next_at = None  # The client changed its format: the turn goes as a whole.
            return
        self._append(stream, stream.out.push(event.pcm[: ready_ms * per_ms]))
        stream.upto_ms += ready_ms
        if stream.upto_ms - stream.start_ms >= limits.MAX_STREAM_MS:
            stream.next_at = None

    def _append(self, stream: _Stream, audio: bytes) -> None:
        if audio:
            if stream.sent is not None:
                stream.sent += audio
                stream.sent = stream.sent if len(stream.sent) <= limits.MAX_KEPT_AUDIO_BYTES else None
            self._is_dirty = True
            self._post.append(audio)

    # -- when it is over

    def take(self, event: TurnSpoken, *, is_online: bool) -> None:
        """A turn has become an item: send what is left of it and commit it, or keep it until that is possible."""
        stream, self._stream = self._stream, None
        self._expect_words(event)
        if stream is not None and is_online and stream.out is not None and _is_begun(stream, stream.out, event):
            per_ms = event.rate_hz // 1000 * 2
            # Of a long turn the line has the end only.
            rest = event.pcm[max(len(event.pcm) - (event.end_ms - stream.upto_ms) * per_ms, 0) :]
            self._append(stream, stream.out.push(rest) + stream.out.finish())
            if stream.sent is not None:
                self._keep(event.item_id, bytes(stream.sent))
            self._commit(event.item_id)
            return
        self._send_whole(event, is_online=is_online)

    def take_found(self, event: TurnSpoken, *, is_committed: bool) -> None:
        """A turn has become an item whose sound upstream has; what it found by itself is committed there already."""
        self._stream = None
        self._expect_words(event)
        out = SpeechOut(event.rate_hz, self._spoken, self._dialect)
        self._keep(event.item_id, out.push(event.pcm) + out.finish())
        if is_committed:
            self._mirror.commit(event.item_id)
            self._trim()
        else:
            self._commit(event.item_id)

    def take_given(self, event: AudioGiven, *, is_online: bool) -> None:
        """A client has added audio; whoever is speaking meanwhile is heard as a whole later."""
        self._expect_words(event)
        self._send_whole(event, is_online=is_online)

    def _expect_words(self, event: TurnSpoken | AudioGiven) -> None:
        self._awaited[event.item_id] = len(event.pcm) / 2 / event.rate_hz
        if not event.is_wanted:
            self.fail(event.item_id, "not_wanted", "No transcript was asked for.")
        elif not self._dialect.transcribes:
            self.fail(event.item_id, "not_supported", f"The model ({self._dialect.name}) does not tell what it heard.")

    def _send_whole(self, event: TurnSpoken | AudioGiven, *, is_online: bool) -> None:
        out = SpeechOut(event.rate_hz, self._spoken, self._dialect)
        self._keep(event.item_id, out.push(event.pcm) + out.finish())
        if is_online and not self._dialect.commit_answers:
            self.commit(event.item_id)

    def _keep(self, item_id: str, audio: bytes) -> None:
        self._kept[item_id] = audio
        self._trim()

    def _trim(self) -> None:
        """Give up what is too much, the oldest first; turns that upstream has are the first to go, never the newest."""
        spare = [each for each in self._kept if each in self._mirror]
        newest = next(reversed(self._kept), None)
        while sum(len(self._kept[each]) for each in spare) > limits.MAX_SPARE_AUDIO_BYTES and spare[0] != newest:
            del self._kept[spare.pop(0)]
        while sum(map(len, self._kept.values())) > limits.MAX_KEPT_AUDIO_BYTES and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            if oldest not in self._mirror:
                self.fail(oldest, "overloaded", "Too much was said while there was no connection to the model.")

    def kept(self, item_id: str) -> bytes | None:
        """Return the audio of an item, in the format that upstream is spoken to in; None when it is not kept."""
        return self._kept.get(item_id)

    def release(self, item_id: str) -> bytes | None:
        """Return the audio of an item that is heard here from now on; upstream will be told its words.

        None when it is not kept: its words are still upstream's to tell.
        """
        if item_id not in self._kept:
            return None
        self._awaited.pop(item_id, None)
        return self._kept.pop(item_id)

    def commit(self, item_id: str) -> None:
        """Send a turn that is kept; one that is being spoken goes as a whole when it is over."""
        self._stream = None
        self._clear()
        self._post.append(self._kept[item_id])
        self._commit(item_id)

    def _commit(self, item_id: str) -> None:
        self._is_dirty = False
        self._mirror.commit(item_id)
        self._post.send("input_audio_buffer.commit", ForTurn(item_id))
        self._trim()

    def commit_awaited(self) -> None:
        """Send the turns whose words somebody waits for, and that upstream does not have."""
        self.commit_kept(list(self._awaited))

    def commit_kept(self, item_ids: list[str]) -> None:
        """Send those of these turns that are kept, and that upstream does not have."""
        if self._dialect.commit_answers:
            return
        for item_id in item_ids:
            if item_id in self._kept and item_id not in self._mirror:
                self.commit(item_id)

    # -- its words

    def first_awaited(self) -> str | None:
        """Return the first turn that upstream has and has not told the words of."""
        return next((each for each, seconds in self._awaited.items() if seconds is None or each in self._mirror), None)

    def hear(self, item_id: str, words: str, logprobs: tuple[LogProb, ...]) -> None:
        """Some words of a turn came."""
        if self._awaited.get(item_id) is not None:
            self._post.tell([happened.TranscriptGrew(item_id, words, logprobs)])

    def hear_segment(self, segment: happened.SegmentHeard) -> None:
        """It came who said some words of a turn."""
        if self._awaited.get(segment.item_id) is not None:
            self._post.tell([segment])

    def complete(
        self, item_id: str, words: str, logprobs: tuple[LogProb, ...], usage: TokensUsage | None = None
    ) -> None:
        """All words of a turn are known, and what it took to hear them, if that is told in tokens."""
        seconds = self._awaited.pop(item_id, None)
        self._kept.pop(item_id, None)
        self._mirror.heard(item_id)
        if seconds is not None:
            self._post.tell([happened.TranscriptCompleted(item_id, words, seconds, logprobs, usage=usage)])

    def fail(self, item_id: str, code: str, message: str) -> None:
        """The words of a turn will not be known."""
        if self._awaited.pop(item_id, None) is not None:
            self._post.tell([happened.TranscriptFailed(item_id, code, message)])

    def refuse(self, item_id: str, code: str, message: str) -> None:
        """Upstream does not take a turn, and would not take it a second time."""
        self._kept.pop(item_id, None)
        self.fail(item_id, code, message)

    def unheard(self) -> list[str]:
        """Return the turns whose words somebody waits for, oldest first."""
        return [item_id for item_id, seconds in self._awaited.items() if seconds is not None]

    def drop(self, item_id: str) -> None:
        """An item is not there any more; words without an id may still be those of the turn that it was."""
        self._kept.pop(item_id, None)
        if self._awaited.get(item_id) is None:
            return
        if item_id not in self._mirror:
            del self._awaited[item_id]
            return
        self._awaited[item_id] = None
        given_up = self._given_up()
        if len(given_up) > limits.MAX_GIVEN_UP:
            del self._awaited[given_up[0]]

    def _given_up(self) -> list[str]:
        return [item_id for item_id, seconds in self._awaited.items() if seconds is None]


def _is_begun(stream: _Stream, out: SpeechOut, event: TurnSpoken) -> bool:
    """Say whether what was streamed is the beginning of a turn."""
    return stream.start_ms == event.start_ms and stream.upto_ms <= event.end_ms and out.rate_hz == event.rate_hz
