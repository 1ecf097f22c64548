"""Turns under ``semantic_vad``: when the caller has finished, and whether a few words were meant to interrupt.

In a pause the words so far are heard early, and how long the caller may be silent goes by how they read. Where nobody
can tell them it goes by ``eagerness`` alone. The audio plane has the last word: it is told to end the turn, and
does so unless the caller speaks on already.

While the agent speaks, speech is *doubted* at first: the agent becomes softer and goes on. It is an interruption when
it lasts, when its words are more than a nod, or when nobody can tell them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.deadline import earliest
from offhook.session.reading import Reading, is_nod, read
from offhook.wire.session import SemanticVad

if TYPE_CHECKING:
    from offhook.session.engine import Engine

# A nod is shorter ("mm-hm", "okay" and "all right" take 300 to 600 ms), and its pause has been told by then.
NOD_MS: Final = 750
# The recogniser of this machine needs 100 to 300 ms, more when others speak too. Then the agent had better stop.
NOD_WORDS_MS: Final = 700
# When the server was busy, the speech may be over already: what has happened is told before anything is decided.
LATE_MS: Final = 100
# "Yes" to a question comes before the question's last sound has been played; earlier it is no answer.
ANSWER_MS: Final = 1500

# From this probability on, a turn sounds as if it were over.
_SOUNDS_OVER: Final = 0.5
# A recogniser makes a sentence of everything, but is less sure of an end that it made up: of recorded sentences, whole
# and cut inside, this keeps 95 % of the whole ones and takes away two thirds of the cut ones that read like whole ones.
_SURE: Final = 0.6


class Patience(msgspec.Struct, frozen=True):
    """How long the caller may be silent after words that read ``whole``, ``open`` or ``cut``, or that nobody knows.

    ``most_ms`` is the longest silence in any case (API reference, "eagerness": 8, 4 and 2 s).
    """

    whole_ms: int
    open_ms: int
    cut_ms: int
    unheard_ms: int
    most_ms: int


_MEDIUM: Final = Patience(240, 700, 1600, 700, 4000)
_PATIENCE: Final = {
    "low": Patience(400, 1200, 3000, 1200, 8000),
    "medium": _MEDIUM,
    "auto": _MEDIUM,
    "high": Patience(200, 450, 900, 400, 2000),
}


def patience_of(detection: SemanticVad) -> Patience:
    """Return how patient an ``eagerness`` is."""
    return _PATIENCE["auto" if detection.eagerness is UNSET else detection.eagerness]


class _Pause(msgspec.Struct, frozen=True):
    """The caller is silent since ``since``; the turn ends at ``until``, or (None) when the audio plane says so."""

    since: float
    until: float | None = None


class _Doubt(msgspec.Struct, frozen=True):
    """It is not known yet whether the caller interrupts; at ``until`` it is taken for granted.

    ``left_s``: how much more speech would be, while the caller pauses.
    """

    until: float
    left_s: float = 0.0


class _Nod(msgspec.Struct, frozen=True):
    """The caller said ``words``, which do not interrupt, and nothing more so far."""

    words: str
    left_s: float


class SemanticTurns:
    """What ``semantic_vad`` adds to the turns of an engine; under other turn detections it does nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pause: _Pause | None = None
        self._meaning: _Doubt | _Nod | None = None

    @property
    def _patience(self) -> Patience | None:
        detection = self._engine.session.audio.input.turn_detection
        return patience_of(detection) if isinstance(detection, SemanticVad) else None

    def deadline(self) -> float | None:
        """Return when something is decided if nothing happens before."""
        pause, meaning = self._pause, self._meaning
        if pause is None and meaning is None:
            return None  # Nearly always, and this is asked after everything that happens.
        return earliest(None if pause is None else pause.until, meaning.until if isinstance(meaning, _Doubt) else None)

    def pass_deadline(self) -> None:
        """Decide what is due."""
        now = self._engine.now
        if isinstance(self._meaning, _Doubt) and now >= self._meaning.until:
            self._interrupt()
        pause = self._pause
        if pause is not None and pause.until is not None and now >= pause.until:
            self._pause = None
            self._engine.emit(do.EndTurn())

    def doubts(self, at_ms: int) -> bool:
        """The caller began to speak; say whether it has to be seen if that is an interruption.

        Where the client plays it is none of ours: it stops playing as soon as it is told that somebody speaks.
        """
        engine = self._engine
        if self._patience is None or not (engine.options.hears_early and engine.door.plays and engine.agent_speaks):
            return False
        self._meaning = _Doubt(engine.now + max(NOD_MS - engine.input_ms + at_ms, LATE_MS) / 1000)
        engine.emit(do.Duck(ducked=True))
        return True

    def paused(self, event: happened.VoicePaused) -> bool:
        """The caller is silent; say whether the words are wanted at once."""
        patience, now = self._patience, self._engine.now
        since = now - (event.decided_ms - event.end_ms) / 1000
        if patience is None:
            self._pause = _Pause(since)
            return False
        # Nobody can answer before the words are known, so nothing is lost by waiting for them.
        until = since + patience.cut_ms / 1000
        if isinstance(self._meaning, _Doubt):
            self._meaning = _Doubt(now + NOD_WORDS_MS / 1000, max(self._meaning.until - now, 0.0))
            until = max(until, self._meaning.until)
        self._pause = _Pause(since, until)
        return True

    def resumed(self) -> None:
        """The caller speaks on."""
        self._pause = None
        if self._meaning is not None:
            self._meaning = _Doubt(self._engine.now + max(self._meaning.left_s, LATE_MS / 1000))

    def heard(self, event: happened.PauseHeard) -> None:
        """What was said before the pause is known, or never will be in time."""
        pause, patience = self._pause, self._patience
        if pause is None or patience is None or event.item_id != self._engine.turns.spoken_item_id:
            return
        self._pause = _Pause(pause.since, pause.since + _wait_ms(event, patience) / 1000)
        if isinstance(self._meaning, _Doubt):
            if event.text is not None and is_nod(event.text):
                self._meaning = _Nod(event.text, self._meaning.left_s)
            else:
                self._interrupt()
        self.pass_deadline()

    def ended(self) -> bool:
        """The turn is over; say whether it was a nod, which nobody answers."""
        self._pause = None
        meaning, self._meaning = self._meaning, None
        match meaning:
            case None:
                return False
            case _Doubt():
                self._interrupt()
                return False
            case _Nod(words=words):
                self._engine.emit(do.Duck(ducked=False))
                return not words.strip() or self._engine.unsaid_ms > ANSWER_MS

    def reconfigured(self) -> None:
        """Turns are detected in another way from now on."""
        detection = self._engine.session.audio.input.turn_detection
        pause, patience = self._pause, self._patience
        # A pause that was told is not told again: the audio plane leaves its end to whoever was told.
        if pause is not None:
            until = None if patience is None else pause.since + patience.unheard_ms / 1000
            self._pause = None if detection is None else _Pause(pause.since, until)
        interrupts = detection is not None and detection.interrupt_response
        if self._meaning is None or (interrupts and patience is not None):
            return
        if interrupts and isinstance(self._meaning, _Doubt):
            # Nobody doubts any more: all speech interrupts, and this was speech.
            self._meaning = _Doubt(self._engine.now)
        else:
            self._meaning = None
            self._engine.emit(do.Duck(ducked=False))

    def _interrupt(self) -> None:
        self._meaning = None
        self._engine.interrupt()
        self._engine.emit(do.Duck(ducked=False))


def _wait_ms(event: happened.PauseHeard, patience: Patience) -> int:
    """Return how long a silence is to be before the turn is over."""
    sounds_over = None if event.over is None else event.over >= _SOUNDS_OVER
    if event.text is None:
        if sounds_over is None:
            return patience.unheard_ms
        return patience.whole_ms if sounds_over else patience.cut_ms
    match read(event.text, event.language):
        case Reading.WHOLE:
            is_doubtful = sounds_over is False or (event.sure is not None and event.sure < _SURE)
            return patience.open_ms if is_doubtful else patience.whole_ms
        case Reading.OPEN:
            return patience.open_ms
        case Reading.CUT:
            return patience.cut_ms
