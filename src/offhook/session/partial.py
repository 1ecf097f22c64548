"""Words of a turn while the caller still speaks, for sessions that transcribe with ``gpt-realtime-whisper``.

Of that model's transcripts deltas come before the turn is committed, of others' they do not (API reference, "Realtime
transcription"). Deltas only ever append: what two hearings in a row agree on from the first word is sent, without their
last word, which may be half of one. The transcript at the end of the turn has the last word about all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from offhook.session import inputs as happened
from offhook.session import outputs as do

if TYPE_CHECKING:
    from offhook.session.engine import Engine
    from offhook.wire.session import TranscriptionEcho

STREAMING_MODEL: Final = "gpt-realtime-whisper"
# Each hearing is of the turn from its start: oftener costs more than the words are newer.
EVERY_S: Final = 1.0
# The API's ``delay`` says how long the model may wait for a better transcript, and gives no figures; these are ours.
_EVERY_S: Final = {"minimal": 0.5, "low": 0.75, "medium": EVERY_S, "high": 1.5, "xhigh": 2.5}


class _Listening(msgspec.Struct, frozen=True):
    """The turn that becomes ``item_id`` is heard next at ``due``, None while it is being heard.

    It is heard again ``every_s``. ``last`` are the words of the hearing before; the first ``told`` of them have been
    sent.
    """

    item_id: str
    due: float | None
    every_s: float
    last: tuple[str, ...] = ()
    told: int = 0


class Partials:
    """Sees to it that a turn is heard about every second, and sends the words that stay."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state: _Listening | None = None

    def watch(self) -> None:
        """Begin with a turn that has begun, and let go of one that is over."""
        engine, state = self._engine, self._state
        item_id = engine.turns.spoken_item_id
        if item_id == (state.item_id if state is not None else None):
            return
        if state is not None:
            engine.transcripts.let_go(state.item_id)
        self._state = None
        wanted = self._wanted
        if item_id is not None and wanted is not None:
            every_s = EVERY_S if wanted.delay is UNSET else _EVERY_S.get(wanted.delay, EVERY_S)
            self._state = _Listening(item_id, engine.now + every_s, every_s)

    @property
    def _wanted(self) -> TranscriptionEcho | None:
        """What the session asks for now, while that has words before a turn is over."""
        wanted = self._engine.session.audio.input.transcription
        streams = self._engine.options.hears_early and wanted is not None and wanted.model == STREAMING_MODEL
        return wanted if streams else None

    def deadline(self) -> float | None:
        """Return when the turn is to be heard again."""
        return self._state.due if self._state is not None and self._wanted is not None else None

    def pass_deadline(self) -> None:
        """Have the turn heard if that is due."""
        engine, state = self._engine, self._state
        wanted = self._wanted
        if wanted is None or state is None or state.due is None or engine.now < state.due:
            return
        self._state = msgspec.structs.replace(state, due=None)
        end_ms = engine.input_ms
        engine.emit(do.HearSoFar(state.item_id, end_ms - engine.turns.uncommitted_ms, end_ms, wanted))

    def heard(self, event: happened.HeardSoFar) -> None:
        """Send what is new and agreed on."""
        engine, state = self._engine, self._state
        if state is None or state.item_id != event.item_id:
            return
        due = engine.now + state.every_s
        if event.text is None or self._wanted is None:  # there was no time for it, or nobody wants it any more
            self._state = msgspec.structs.replace(state, due=due)
            return
        words = tuple(event.text.split())
        agreed = 0
        for one, two in zip(words[:-1], state.last[:-1], strict=False):
            if one != two:
                break
            agreed += 1
        if agreed > state.told and words[: state.told] == state.last[: state.told]:
            new = " ".join(words[state.told : agreed])
            engine.transcripts.tell(state.item_id, f" {new}" if state.told else new)
            state = msgspec.structs.replace(state, told=agreed)
        # The words that were sent stay those that later ones have to follow.
        last = state.last[: state.told] + words[state.told :] if state.told else words
        self._state = _Listening(state.item_id, due, state.every_s, last, state.told)
