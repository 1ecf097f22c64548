"""Who finds the caller's turns: this side, or upstream, which then is sent all that is heard, silence too.

Upstream only says when somebody speaks: it neither answers nor stops an answer by itself (``create_response`` and
``interrupt_response`` are false there), so that the conversation, and what was heard of it, stay here. While there is
no connection, turns are found here. Source: API reference, "input_audio_buffer.speech_started" and "...speech_stopped".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET

from offhook.session import inputs as happened
from offhook.session.relay import limits
from offhook.session.relay.dialect import Dialect, FormatName
from offhook.session.relay.event import UpstreamEvent
from offhook.session.relay.post import Post
from offhook.session.relay.speech import SpeechOut
from offhook.session.relay.steps import FindTurns, ReadInput, SpokenSoFar, TurnSpoken
from offhook.wire.session import ServerVad, TurnDetection

# What a session has when it does not say; a semantic turn begins as much before the voice.
_PADDING_MS: Final = 300
_SILENCE_MS: Final = 500


class Here(msgspec.Struct, frozen=True):
    """The detector on this side finds them."""


class Moving(msgspec.Struct, frozen=True):
    """Upstream is going to find them, from the position that is asked for."""


class There(msgspec.Struct):
    """Upstream finds them. ``offset_ms`` is what its positions lack to be ours, ``stopped_ms`` its last end of one."""

    offset_ms: int
    upto_ms: int
    next_at: float
    out: SpeechOut | None = None
    is_speaking: bool = False
    stopped_ms: int | None = None


class Finding:
    """Decides who finds turns, and gives upstream's as if they had been found here.

    ``changed`` is called when upstream has to be told of another ``turn_detection``.
    """

    def __init__(
        self, dialect: Dialect, spoken: FormatName, post: Post, changed: Callable[[], None], *, is_wanted: bool
    ) -> None:
        self._dialect = dialect
        self._spoken = spoken
        self._post = post
        self._changed = changed
        self._is_wanted = is_wanted
        self._is_spoken = False
        self._over_at: float | None = None
        self._detection: TurnDetection | None = None
        self._state: Here | Moving | There = Here()

    @property
    def is_there(self) -> bool:
        """Whether upstream finds the turns."""
        return isinstance(self._state, There)

    def refuse(self) -> None:
        """Upstream does not take the way in which turns are to be found."""
        self._is_wanted = False

    def told(self, *, is_speaking: bool, now: float) -> None:
        """The clients were told that the caller speaks, or has stopped: a turn is ended by whoever began it.

        It is over with all that follows at once: the item that it makes, and the rest where a client has cut it in two.
        """
        self._is_spoken = is_speaking
        self._over_at = now if self._is_wanted and not is_speaking and isinstance(self._state, Here) else None

    def settle(self, detection: TurnDetection | None, *, is_online: bool) -> None:
        """Let upstream find turns where it can, and this side where not."""
        before, self._detection = self._detection, detection
        can_be_there = self._is_wanted and is_online and detection is not None
        match self._state:
            case Here() if can_be_there and not self._is_spoken and self._over_at is None:
                self._state = Moving()
                self._post.do(FindTurns(here=False))
            case (Moving() | There()) as state if not can_be_there:
                self._state = Here()
                self._post.do(FindTurns(here=True))
                if isinstance(state, There) and self._is_spoken:
                    # Nobody knows whether the caller still speaks; what follows is found here, as another turn.
                    self._post.tell([happened.VoiceStopped(state.upto_ms, state.upto_ms)])
                self._changed()
            case There() if detection != before:
                self._changed()
            case _:
                pass

    def begin(self, at_ms: int, now: float) -> None:
        """Send all that is heard from this position on."""
        if isinstance(self._state, Moving):
            self._state = There(at_ms - self._sent_ms(), at_ms, now + limits.LISTEN_MS / 1000)
            self._changed()

    def _sent_ms(self) -> int:
        """Return how much upstream has been sent: the position that comes next there."""
        per_ms = self._dialect.pcm_in_hz // 1000 * 2 if self._spoken == "audio/pcm" else 8
        return self._post.appended_bytes // per_ms

    # -- the sound

    def deadline(self) -> float | None:
        """Return when the next audio is due, or upstream may begin."""
        return self._state.next_at if isinstance(self._state, There) else self._over_at

    def pass_deadline(self, now: float) -> None:
        """Ask for what was heard meanwhile."""
        state = self._state
        if self._over_at is not None and now >= self._over_at:
            self._over_at = None
        if isinstance(state, There) and now >= state.next_at:
            state.next_at = now + limits.LISTEN_MS / 1000
            end_ms = state.upto_ms + limits.MAX_READ_MS
            self._post.do(ReadInput(state.upto_ms, end_ms, frees=not state.is_speaking))

    def grow(self, event: SpokenSoFar) -> None:
        """Send what was heard."""
        state = self._state
        if isinstance(state, There) and event.start_ms == state.upto_ms:
            per_ms = event.rate_hz // 1000 * 2
            whole_ms = len(event.pcm) // per_ms
            self._append(state, event.pcm[: whole_ms * per_ms], event.rate_hz)
            state.upto_ms += whole_ms

    def _append(self, state: There, pcm: bytes, rate_hz: int) -> None:
        if state.out is None or state.out.rate_hz != rate_hz:
            state.out = SpeechOut(rate_hz, self._spoken, self._dialect)
        self._post.append(state.out.push(pcm))

    def is_committed(self, event: TurnSpoken) -> bool:
        """Say whether upstream has made a turn of it by itself; of any other it is sent what it does not have yet."""
        state = self._state
        if not isinstance(state, There) or event.end_ms == state.stopped_ms:
            return True
        if event.end_ms > state.upto_ms:
            per_ms = event.rate_hz // 1000 * 2
            rest = event.pcm[max(len(event.pcm) - (event.end_ms - state.upto_ms) * per_ms, 0) :]
            self._append(state, rest, event.rate_hz)
            state.upto_ms = event.end_ms
        return False

    # -- what upstream says of it

    def started(self, event: UpstreamEvent) -> None:
        """The caller began to speak. Its positions have the padding, which the conversation takes off again."""
        state = self._state
        if isinstance(state, There) and event.audio_start_ms is not None and not state.is_speaking:
            state.is_speaking = True
            at_ms = event.audio_start_ms + state.offset_ms + self._given("prefix_padding_ms", _PADDING_MS)
            self._post.tell([happened.VoiceStarted(_within(at_ms, state))])

    def stopped(self, event: UpstreamEvent) -> None:
        """The caller's turn is over."""
        state = self._state
        if isinstance(state, There) and event.audio_end_ms is not None and state.is_speaking:
            state.is_speaking = False
            state.stopped_ms = _within(event.audio_end_ms + state.offset_ms, state)
            silence_ms = self._given("silence_duration_ms", _SILENCE_MS)
            self._post.tell([happened.VoiceStopped(max(state.stopped_ms - silence_ms, 0), state.stopped_ms)])

    def _given(self, member: str, default: int) -> int:
        """Return a figure of ``server_vad``; the other ways of finding turns have none."""
        if not isinstance(self._detection, ServerVad):
            return _PADDING_MS if member == "prefix_padding_ms" else 0
        value: Any = getattr(self._detection, member)
        return default if value is UNSET or value is None else int(value)

    def members(self) -> dict[str, Any] | None:
        """Return ``turn_detection`` as upstream is to have it: none where turns are found here."""
        if not self.is_there or self._detection is None:
            return None
        wanted: dict[str, Any] = msgspec.to_builtins(self._detection)
        wanted.pop("idle_timeout_ms", None)
        return wanted | {"create_response": False, "interrupt_response": False}


def _within(at_ms: int, state: There) -> int:
    """Return a position that upstream has heard of."""
    return min(max(at_ms, 0), state.upto_ms)
