"""How many calls this machine can hold, found out while it holds them.

Two things limit a server: the audio plane has to be on time, and so has everything else. The cost of a call is measured
where it shows (the share of time that the audio plane is busy), and the limit follows from it; when lateness shows
anyway (a noisy neighbour, a slow model), the limit goes down until it is gone. Pure: the driver brings the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Above this share of a core the spacing of packets suffers; measured on two-core machines.
TARGET_BUSY: Final = 0.70
# What a call is taken to cost before any was measured, and how many calls that guess weighs as much as.
GUESSED_COST: Final = 0.004
GUESS_WEIGHT: Final = 3
# What opening and closing a leg costs, in seconds of a call: short calls must not pass for dear ones.
SETUP_S: Final = 0.1
# No call was ever seen to cost less; a reading below it is one of calls that make no sound.
LEAST_COST: Final = 0.0003
# How fast a new reading counts. Readings come once a second.
SMOOTHING: Final = 0.3
# Lateness that callers hear: half a packet in the audio plane, a pause before an answer elsewhere.
LATE_TICK_MS: Final = 10.0
LATE_LOOP_MS: Final = 100.0
LATE_MODEL_MS: Final = 500.0
# One late second is an accident of the machine; two are a sign.
LATE_READINGS: Final = 2
BACK_OFF: Final = 0.9
RECOVERY: Final = 1.05
LEAST_LIMIT: Final = 1
# So few calls that do not keep the machine busy are not what makes it late; a neighbour, or a suspension, is.
BLAMELESS: Final = 4
_NONE: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Load:
    """What one second looked like.

    ``busy`` is the share of time that the audio plane worked on ``legs`` calls, of which ``opened`` were new.
    ``tick_late_ms`` is a 99th percentile, ``loop_late_ms`` the worst of some probes, ``model_wait_ms`` what a request
    to a model has to wait now.
    """

    busy: float
    legs: int = 0
    opened: int = 0
    tick_late_ms: float = 0.0
    loop_late_ms: float = 0.0
    model_wait_ms: float = 0.0

    @property
    def late(self) -> str | None:
        """Which part is later than callers should hear, if any."""
        if self.tick_late_ms > LATE_TICK_MS:
            return f"audio is {self.tick_late_ms:.0f} ms late"
        if self.loop_late_ms > LATE_LOOP_MS:
            return f"the event loop is {self.loop_late_ms:.0f} ms late"
        if self.model_wait_ms > LATE_MODEL_MS:
            return f"models are {self.model_wait_ms:.0f} ms behind"
        return None


class Admission:
    """Says whether one more call may come in.

    ``max_calls`` is a cap by configuration, 0 for none; the limit that was found holds below it.
    """

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._cost = GUESSED_COST
        self._idle_busy = 0.0
        self._ceiling = _NONE
        self._late_readings = 0
        self.reason = ""
        self.refused = 0

    @property
    def cost(self) -> float:
        """The share of a core that a call costs the audio plane."""
        return self._cost

    @property
    def limit(self) -> int:
        """Calls that may be held at a time."""
        found = min((TARGET_BUSY - self._idle_busy) / self._cost, self._ceiling)
        limit = max(int(found), LEAST_LIMIT)
        return min(limit, self._max_calls) if self._max_calls else limit

    def admit(self, calls: int) -> bool:
        """Say whether another call may join ``calls`` others."""
        if calls < self.limit:
            return True
        self.refused += 1
        return False

    def observe(self, load: Load) -> None:
        """Take the figures of a second."""
        worth = load.legs + load.opened * SETUP_S
        if not worth:
            self._idle_busy += SMOOTHING * (load.busy - self._idle_busy)
        busy = max(load.busy - self._idle_busy, 0.0)
        measured = (GUESSED_COST * GUESS_WEIGHT + busy) / (GUESS_WEIGHT + worth)
        self._cost = max(self._cost + SMOOTHING * (measured - self._cost), LEAST_COST)
        late = load.late
        if late is None:
            self._late_readings = 0
            self._recover()
            return
        self._late_readings += 1
        if self._late_readings >= LATE_READINGS:
            least = LEAST_LIMIT if load.busy > TARGET_BUSY else BLAMELESS
            self._ceiling = max(min(self._ceiling, load.legs) * BACK_OFF, least)
            self.reason = late

    def _recover(self) -> None:
        if self._ceiling == _NONE:
            return
        self._ceiling = max(self._ceiling * RECOVERY, self._ceiling + 1)
        if self._ceiling >= TARGET_BUSY / self._cost:
            self._ceiling = _NONE
            self.reason = ""
