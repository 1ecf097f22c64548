"""When somebody speaks and when they have stopped.

A neural detector is sure but slow: it notices the end of speech 25 to 80 ms late. Energy is quick but believes every
noise. So the detector *confirms* speech and the energy of every 10 ms *dates* its start and end; where noise keeps the
energy up, or a voice is too soft for it, the dates fall back to the detector's own, less the lag it is known to have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias, assert_never, final

import msgspec

from offhook.audio.level import STEP_MS, EnergyGate

WINDOW_MS: Final = 32
"""How much sound one probability judges (Silero at 8 kHz: 256 samples)."""

_RELEASE: Final = 0.15  # Hysteresis: speech goes on while the probability is at most this far under the threshold.
_BRIDGE_STEPS: Final = 5  # Stops such as "p" and "t" are silent for up to 50 ms inside a word.
_LOOK_BACK_MS: Final = 200  # An energy rise longer ago than this did not begin the speech that is heard now.
_LAG_MS: Final = 48  # How late the probability falls after speech, median on recorded telephone prompts.
_LONGEST_LAG_MS: Final = 80  # The same, at most, but for one in ten.
_BEHIND_MS: Final = 96  # Probabilities come later than levels by a window and a packet (60 ms), and by no more in time.
_NOISY_DBFS: Final = -56.0  # Above this the noise hides endings that a listener still makes out.
_ASSURANCE: Final = 0.2  # One window is enough if it is so much surer: noise soon after speech reaches the threshold.
_SUSTAINED: Final = 0.6  # And when this share of the onset carries energy: a click does not, a word does.
_HISTORY: Final = (1 << 640) - 1  # 6.4 s of energy decisions, one bit each: longer than any silence that is waited for.
_AWAKE: Final = (1 << 512 // STEP_MS) - 1
_FAR_PAST_MS: Final = -(10**9)


class TurnOptions(msgspec.Struct, frozen=True):
    """How eagerly turns begin and end.

    ``threshold`` is the probability that counts as speech; a turn is announced once it has lasted ``onset_ms`` and ends
    after ``silence_duration_ms`` of silence; its sound is taken from ``prefix_padding_ms`` before its start. After
    ``pause_ms`` of silence, where that is shorter, it is said that the turn may be about to end; 0 is never.
    """

    threshold: float = 0.5
    silence_duration_ms: int = 500
    prefix_padding_ms: int = 300
    onset_ms: int = 60
    pause_ms: int = 0

    @property
    def tells_pauses(self) -> bool:
        """Whether a pause can be told before it is the end of the turn."""
        return 0 < self.pause_ms < self.silence_duration_ms


class SpeechStarted(msgspec.Struct, frozen=True):
    """Speech began at ``start_ms``; a recogniser wants the sound from ``audio_from_ms`` on. Known at ``decided_ms``."""

    start_ms: int
    audio_from_ms: int
    decided_ms: int


class SpeechStopped(msgspec.Struct, frozen=True):
    """Speech ended at ``end_ms``, which was known ``silence_duration_ms`` later, at ``decided_ms``."""

    start_ms: int
    end_ms: int
    decided_ms: int


class SpeechPaused(msgspec.Struct, frozen=True):
    """Speech may have ended at ``end_ms``: it has been silent since, for ``pause_ms`` at ``decided_ms``."""

    start_ms: int
    end_ms: int
    decided_ms: int


class SpeechResumed(msgspec.Struct, frozen=True):
    """It had not: the turn goes on."""

    start_ms: int
    decided_ms: int


TurnEvent: TypeAlias = SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped
_NOTHING: Final[tuple[TurnEvent, ...]] = ()


@final
class _Off(msgspec.Struct, frozen=True):
    """Turn detection is switched off."""


@final
class _Listening(msgspec.Struct, frozen=True):
    """Nobody speaks. ``not_before_ms`` is where the last turn ended; ``armed`` once the detector has let go of it."""

    not_before_ms: int
    armed: bool


@final
class _Suspecting(msgspec.Struct, frozen=True):
    """The detector heard speech in the window that began at ``since_ms``.

    ``windows`` have agreed since, of which ``best`` was the surest.
    """

    not_before_ms: int
    since_ms: int
    windows: int
    best: float


@final
class _Speaking(msgspec.Struct):
    """A turn. ``likely_ms`` is the end of the last window in which the detector heard speech.

    ``paused_ms`` is when a pause was told that lasts still, None outside of one. ``ends``: somebody has decided that
    the turn is over with it.
    """

    start_ms: int
    likely_ms: int
    paused_ms: int | None = None
    ends: bool = False


class TurnDetector:
    """Turns levels and probabilities on one time line into turns.

    Feed `hear` with the level of every 10 ms in order and `judge` with the probability of every 32 ms window, which may
    come later. Times are milliseconds on the input's own line; both return the events that became known, in order.
    """

    __slots__ = ("_active", "_gate", "_heard_ms", "_judged_ms", "_likely", "_options", "_state")

    def __init__(self, options: TurnOptions | None = None, *, at_ms: int = 0) -> None:
        self._options = options or TurnOptions()
        self._state: _Off | _Listening | _Suspecting | _Speaking = _Listening(at_ms, armed=True) if options else _Off()
        self._gate = EnergyGate()
        self._heard_ms = at_ms
        self._judged_ms = at_ms
        self._likely = False
        self._active = 0  # Bit n: the step that ended n steps ago carried energy.

    @property
    def on(self) -> bool:
        """Whether probabilities are wanted."""
        return not isinstance(self._state, _Off)

    @property
    def listening(self) -> bool:
        """Whether a turn may begin and none has."""
        return isinstance(self._state, _Listening)

    @property
    def speaking(self) -> bool:
        """Whether a turn has been announced and not ended."""
        return isinstance(self._state, _Speaking)

    @property
    def quiet(self) -> bool:
        """Whether the last 50 ms carried no energy: a moment at which nobody notices a missing frame."""
        return not self._active & (1 << _BRIDGE_STEPS) - 1

    @property
    def awake(self) -> bool:
        """Whether the last half second carried any energy: without it there is nothing for the detector to judge."""
        return bool(self._active & _AWAKE)

    def configure(self, options: TurnOptions | None) -> None:
        """Change the options from here on, or switch off with None.

        A turn that is under way goes on under the new options; switched off, it is forgotten without an event.
        """
        if options is None:
            self._state = _Off()
            return
        self._options = options
        if isinstance(self._state, _Off):
            self._state = _Listening(self._heard_ms, armed=True)
            self._judged_ms = self._heard_ms
            self._likely = False

    def end(self) -> Sequence[TurnEvent]:
        """End the turn with the pause that was told, at once; nothing happens when the caller speaks on by now."""
        state = self._state
        if not isinstance(state, _Speaking) or state.paused_ms is None:
            return _NOTHING
        state.ends = True
        return self._try_stop(state)

    def hear(self, levels_dbfs: Sequence[float]) -> Sequence[TurnEvent]:
        """Take the levels of the next steps of 10 ms."""
        steps = len(levels_dbfs)
        loud = self._gate.follow(levels_dbfs, speech=self._likely)
        state = self._state
        # Fifty times a second for each call: asking for the very type costs a fifth of `isinstance` of a union.
        if type(state) is _Listening or type(state) is _Off or self._far_from_stop(state, steps):
            self._active = (self._active << steps | loud) & _HISTORY
            self._heard_ms += steps * STEP_MS
            return _NOTHING
        events: list[TurnEvent] = []
        for step in range(steps - 1, -1, -1):
            self._active = (self._active << 1 | loud >> step & 1) & _HISTORY
            self._heard_ms += STEP_MS
            state = self._state
            if isinstance(state, _Suspecting):
                events += self._try_start(state)
            elif isinstance(state, _Speaking):
                events += self._try_stop(state)
        return events

    def rest(self, levels_dbfs: Sequence[float], until_ms: int) -> bool:
        """Take levels, and windows up to ``until_ms``, at once if nobody speaks and none of them is loud.

        Says whether it did; `hear` and `judge`, window by window and with a probability of 0, come to the same.
        """
        if self._likely or self.awake or type(self._state) is not _Listening:
            return False
        floor_dbfs = self._gate.floor_dbfs
        if self._gate.follow(levels_dbfs, speech=False):
            self._gate.floor_dbfs = floor_dbfs
            return False
        self._active = (self._active << len(levels_dbfs)) & _HISTORY
        self._heard_ms += len(levels_dbfs) * STEP_MS
        if until_ms > self._judged_ms:
            self.judge(0.0, until_ms)
        return True

    def judge(self, probability: float, until_ms: int) -> Sequence[TurnEvent]:
        """Take the probability that the window which ended at ``until_ms`` holds speech."""
        self._judged_ms = until_ms
        sure = probability >= self._options.threshold
        self._likely = probability >= self._options.threshold - _RELEASE
        state = self._state
        if type(state) is _Listening:
            return _NOTHING if state.armed and not sure else self._suspect(state, probability, until_ms, sure=sure)
        if type(state) is _Speaking:
            if self._likely:
                state.likely_ms = until_ms
                if state.paused_ms is not None and until_ms > state.paused_ms:
                    state.paused_ms = None
                    state.ends = False
                    return (SpeechResumed(state.start_ms, self._heard_ms),)
            return self._try_stop(state)
        if type(state) is _Suspecting:
            if not self._likely:
                self._state = _Listening(state.not_before_ms, armed=True)
                return _NOTHING
            windows = state.windows + sure
            self._state = state = _Suspecting(
                state.not_before_ms, state.since_ms, windows, max(state.best, probability)
            )
            return self._try_start(state)
        if type(state) is _Off:
            return _NOTHING
        assert_never(state)

    def _suspect(self, state: _Listening, probability: float, until_ms: int, *, sure: bool) -> Sequence[TurnEvent]:
        if not (state.armed or not sure or self._rise_ms(until_ms) > state.not_before_ms):
            return _NOTHING
        if not sure:
            self._state = _Listening(state.not_before_ms, armed=True)
            return _NOTHING
        self._state = suspecting = _Suspecting(state.not_before_ms, until_ms - WINDOW_MS, 1, probability)
        return self._try_start(suspecting)

    def _far_from_stop(self, state: _Suspecting | _Speaking, steps: int) -> bool:
        """Whether nothing can be dated and due within so many steps, whatever they hold."""
        if type(state) is _Suspecting or state.ends:
            return False
        options = self._options
        # While the detector hears speech no pause is told, whatever energy says.
        pause = not self._likely and state.paused_ms is None and options.tells_pauses
        earliest_ms = state.likely_ms - _LONGEST_LAG_MS + (options.pause_ms if pause else options.silence_duration_ms)
        return self._heard_ms + steps * STEP_MS < earliest_ms

    def _try_start(self, state: _Suspecting) -> Sequence[TurnEvent]:
        options = self._options
        rise_ms = self._rise_ms(state.since_ms + WINDOW_MS)
        start_ms = rise_ms if rise_ms >= state.since_ms - _LOOK_BACK_MS else state.since_ms
        start_ms = max(start_ms, state.not_before_ms)
        if self._heard_ms < start_ms + options.onset_ms:
            return _NOTHING
        quick = state.best >= options.threshold + _ASSURANCE and self._sustained(start_ms, options.onset_ms)
        if state.windows < 2 and not quick:
            return _NOTHING
        self._state = _Speaking(start_ms, self._judged_ms)
        audio_from_ms = max(start_ms - options.prefix_padding_ms, 0)
        return (SpeechStarted(start_ms, audio_from_ms, self._heard_ms),)

    def _try_stop(self, state: _Speaking) -> Sequence[TurnEvent]:
        if self._far_from_stop(state, 0):
            return _NOTHING
        end_ms = self._end_ms(state)
        options = self._options
        silent_ms = self._heard_ms - end_ms
        pause = options.tells_pauses and state.paused_ms is None and silent_ms < options.silence_duration_ms
        wanted_ms = options.pause_ms if pause or state.ends else options.silence_duration_ms
        if silent_ms < wanted_ms or self._judged_ms < end_ms or self._rising() or self._overtaken():
            return _NOTHING
        end_ms = max(end_ms, state.start_ms)
        if pause and self._likely:
            # Energy falls before the detector lets go of a word: told now, a pause would end with the next window.
            return _NOTHING
        if pause:
            state.paused_ms = self._heard_ms
            return (SpeechPaused(state.start_ms, end_ms, self._heard_ms),)
        self._state = _Listening(end_ms, armed=not self._likely)
        return (SpeechStopped(state.start_ms, end_ms, self._heard_ms),)

    def _end_ms(self, state: _Speaking) -> int:
        """Date the end of speech as far as is known now."""
        later = max(-(-(self._heard_ms - state.likely_ms - WINDOW_MS) // STEP_MS), 0)  # Steps that cannot belong to it.
        last_ms = self._last_active_ms(later)
        limit_ms = self._heard_ms - later * STEP_MS
        noisy = later and last_ms == limit_ms and self._active >> later - 1 & 1
        if noisy:
            return state.likely_ms - _LAG_MS
        # The detector also hears word endings that drown in noise; where there is none, energy knows better.
        lag_ms = _LAG_MS if self._gate.floor_dbfs > _NOISY_DBFS else _LONGEST_LAG_MS
        return max(last_ms, state.likely_ms - lag_ms)

    def _rising(self) -> bool:
        """Whether energy came up after a pause and has not been judged yet: speech may be going on."""
        unjudged = max(self._heard_ms - self._judged_ms, 0) // STEP_MS
        fresh = self._active & (1 << unjudged) - 1
        before = self._active >> unjudged & (1 << _BRIDGE_STEPS) - 1
        return bool(fresh) and not before

    def _overtaken(self) -> bool:
        """Whether levels came long before their probabilities, as after a stall, and what is loud may be speech."""
        behind_ms = self._heard_ms - self._judged_ms
        return behind_ms > _BEHIND_MS and bool(self._active & (1 << behind_ms // STEP_MS) - 1)

    def _last_active_ms(self, skipped: int) -> int:
        """Return where the last energy before the last ``skipped`` steps ended; the far past if there was none."""
        past = self._active >> skipped
        if not past:
            return _FAR_PAST_MS
        return self._heard_ms - (skipped + (past & -past).bit_length() - 1) * STEP_MS

    def _rise_ms(self, until_ms: int) -> int:
        """Return where the energy that reaches ``until_ms`` (or just before) began; short gaps are bridged.

        The far past stands for no energy at all, and a rise before `_LOOK_BACK_MS` is not followed to its beginning.
        """
        skipped = max(self._heard_ms - until_ms, 0) // STEP_MS
        past = self._active >> skipped & (1 << (_LOOK_BACK_MS + 2 * WINDOW_MS) // STEP_MS) - 1
        start = step = quiet = 0
        while past and quiet <= _BRIDGE_STEPS:
            step += 1
            if past & 1:
                start = step
                quiet = 0
            else:
                quiet += 1
            past >>= 1
        return self._heard_ms - (skipped + start) * STEP_MS if start else _FAR_PAST_MS

    def _sustained(self, start_ms: int, duration_ms: int) -> bool:
        steps = max(duration_ms // STEP_MS, 1)
        skipped = max(self._heard_ms - start_ms - duration_ms, 0) // STEP_MS
        onset = self._active >> skipped & (1 << steps) - 1
        return onset.bit_count() >= _SUSTAINED * steps
