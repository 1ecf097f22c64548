"""How many calls this machine can hold, found out while it holds them.

Two things limit a server: its interpreter runs on one core, and all that it does has to be on time. What a call costs,
and what setting one up costs, is learned from the processor time of each second, and the limit follows from it; when
lateness shows anyway (a noisy neighbour, a slow model, a flood of calls), less is taken of what makes it until it is
gone: fewer calls at a time, or fewer new ones a second. Pure: the driver brings the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from offhook.host.weighing import Amount, Costs

# Above this share of a core the spacing of packets suffers; measured on two-core machines.
TARGET_BUSY: Final = 0.70
# What a call is taken to cost before any was measured, as a share of a core.
GUESSED_COST: Final = 0.004
# How fast the figures of what else is held count. Readings come once a second.
SMOOTHING: Final = 0.3
# Lateness that callers hear: half a packet in the audio plane, a pause before an answer elsewhere. A server that is
# not half as busy as it may be does not make itself that late: then only a whole packet counts, which is a gap
# whoever made it, and which a share of the processor smaller than one core shows by, too.
LATE_TICK_MS: Final = 10.0
LATE_TICK_UNBUSY_MS: Final = 20.0
LATE_LOOP_MS: Final = 100.0
LATE_MODEL_MS: Final = 500.0
# One late second is an accident of the machine; two are a sign.
LATE_READINGS: Final = 2
BACK_OFF: Final = 0.9
RECOVERY: Final = 1.05
LEAST_LIMIT: Final = 1
# So many new calls a second are always taken while there is room, and none was ever set up for less processor time.
LEAST_SETUPS: Final = 10
LEAST_SETUP_S: Final = 0.0003
# So few calls that do not keep the machine busy are not what makes it late; a neighbour, or a suspension, is.
BLAMELESS: Final = 4
_NONE: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Load:
    """What one second looked like.

    ``busy`` is the share of a core that the server used: ``others`` of it for what is no call, the rest for ``legs``
    calls and to set up ``opened`` of them. ``stayed`` of the legs were there all the second, None for all.
    ``tick_late_ms`` is a 99th percentile, ``loop_late_ms`` the worst of some probes, ``model_wait_ms`` what a request
    to a model has to wait now.
    """

    busy: float
    legs: int = 0
    opened: int = 0
    others: float = 0.0
    stayed: int | None = None
    tick_late_ms: float = 0.0
    loop_late_ms: float = 0.0
    model_wait_ms: float = 0.0

    @property
    def late(self) -> str | None:
        """Which part is later than callers should hear, if any."""
        # Late audio is what callers hear; calls that begin and end within a second hear none.
        most_ms = LATE_TICK_MS if self.busy > TARGET_BUSY / 2 else LATE_TICK_UNBUSY_MS
        if self.tick_late_ms > most_ms and self.stayed != 0:
            return f"audio is {self.tick_late_ms:.0f} ms late"
        if self.loop_late_ms > LATE_LOOP_MS:
            return f"the event loop is {self.loop_late_ms:.0f} ms late"
        if self.model_wait_ms > LATE_MODEL_MS:
            return f"models are {self.model_wait_ms:.0f} ms behind"
        return None


class Ceiling:
    """What lateness allows of something, down to ``least``; there is none until something was late."""

    def __init__(self, least: int) -> None:
        self.value = _NONE
        self._least = least

    def lower(self, seen: int, least: int = 0) -> None:
        """So much was too much."""
        self.value = max(min(self.value, seen) * BACK_OFF, least or self._least)

    def rise(self, enough: float) -> None:
        """A second was on time. Above ``enough`` the ceiling says nothing any more."""
        if self.value != _NONE:
            self.value = max(self.value * RECOVERY, self.value + 1)
            if self.value >= enough:
                self.value = _NONE


class Admission:
    """Says whether one more call may come in, or one more of what else this server holds: ``noun`` says of what.

    ``max_calls`` is a cap by configuration, 0 for none; the limit that was found holds below it. ``guessed_cost`` is
    the share of a core that one is taken to cost before any was measured, ``costs`` what is shared with the admission
    of what else the server holds.
    """

    def __init__(
        self, max_calls: int, noun: str = "calls", guessed_cost: float = GUESSED_COST, costs: Costs | None = None
    ) -> None:
        self._max_calls = max_calls
        self._noun = noun
        self.costs = costs or Costs()
        self.kind = self.costs.add(guessed_cost)
        self._others = 0.0
        self._calls = Ceiling(LEAST_LIMIT)
        self._setups = Ceiling(LEAST_SETUPS)
        self._admitted = 0
        self._late_readings = 0
        self.reason = ""
        self.refused = 0

    @property
    def cost(self) -> float:
        """The share of a core that a call costs."""
        return self.kind.cost

    @property
    def share(self) -> float:
        """The share of a core that the calls of the last second cost, and setting up new ones."""
        return self.kind.share

    @property
    def limit(self) -> int:
        """Calls that may be held at a time."""
        found = min((TARGET_BUSY - self.costs.idle_busy - self._others) / self.cost, self._calls.value)
        limit = max(int(found), LEAST_LIMIT)
        return min(limit, self._max_calls) if self._max_calls else limit

    @property
    def setups_limit(self) -> int | None:
        """Calls that may come in a second, None for any number."""
        return None if self._setups.value == _NONE else int(self._setups.value)

    def full(self, calls: int) -> str | None:
        """Return why another call could not join ``calls`` others, None when it could."""
        if calls >= self.limit:
            return f"{calls} {self._noun} are the limit"
        if self._admitted >= self._setups.value:
            return f"{self.setups_limit} new {self._noun} a second are the limit"
        return None

    def refuse(self, calls: int) -> str | None:
        """Return why another call may not join ``calls`` others, which is counted; None when it may."""
        why = self.full(calls)
        if why is not None:
            self.refused += 1
        return why

    def take(self) -> None:
        """Another call has come in. One that is refused for other reasons is none."""
        self._admitted += 1

    def observe(self, load: Load) -> None:
        """Take the figures of a second, in which the server held nothing else."""
        self.costs.learn(load.busy, {self.kind: Amount(load.legs, load.opened)})
        self.judge(load)

    def judge(self, load: Load) -> None:
        """Take the figures of a second whose costs have been learned; ``others`` of them is for what else is held."""
        self._admitted = 0
        self._others += SMOOTHING * (load.others - self._others)
        late = load.late
        if late is None:
            self._late_readings = 0
            self._calls.rise(TARGET_BUSY / self.cost)
            self._setups.rise(TARGET_BUSY / max(self.kind.setup_s, LEAST_SETUP_S))
            if self._calls.value == self._setups.value == _NONE:
                self.reason = ""
            return
        self._late_readings += 1
        if self._late_readings < LATE_READINGS:
            return
        if not self.share or self.share < load.others:
            return  # It is somebody else's doing, or nobody's, and there is nothing to take less of.
        self.reason = late
        if load.opened * self.kind.setup_s > load.legs * self.cost:
            self._setups.lower(load.opened)
        else:
            self._calls.lower(load.legs, LEAST_LIMIT if load.busy > TARGET_BUSY else BLAMELESS)
