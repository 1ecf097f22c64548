"""Takes the figures that admission control lives by: once a second, how busy and how late everything was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from offhook.host.admission import Admission, Load
from offhook.host.weighing import Amount

PROBES_A_SECOND: Final = 20


class MediaLoad(Protocol):
    """What the audio plane says of the last second."""

    @property
    def legs(self) -> int:
        """How many calls it carries."""
        ...

    @property
    def late_now_ms(self) -> float:
        """How late its steps were."""
        ...


class SessionLoad(Protocol):
    """What the sessions without a call say of themselves."""

    admission: Admission
    total: int
    """How many were opened since the start."""

    def __len__(self) -> int:
        """How many there are."""
        ...


class LoadSampler:
    """Measures the event loop's lateness with a timer of its own, and reads the audio plane's and the models'.

    ``opened`` counts the legs opened since the start, ``stayed`` the calls that came before a time and are there still,
    ``cpu_clock`` the processor time of this process in seconds: what others take from it while it works must not pass
    for the cost of its calls. What calls cost and what ``sessions`` do is told apart by what each was seen to cost.
    """

    def __init__(
        self,
        admission: Admission,
        *,
        media: Callable[[], MediaLoad],
        sessions: SessionLoad,
        opened: Callable[[], int],
        stayed: Callable[[float], int],
        model_wait_ms: Callable[[], float],
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._media = media
        self._sessions = sessions
        self._opened = opened
        self._stayed = stayed
        self._model_wait_ms = model_wait_ms
        self._clock = clock
        self._cpu_clock = cpu_clock
        self.loop_late_ms = 0.0
        """The worst lateness of the event loop in the last second."""

    async def run(self) -> None:
        """Sample until cancelled."""
        pause_s = 1 / PROBES_A_SECOND
        while True:
            latest_s, before_opened, before_sessions = 0.0, self._opened(), self._sessions.total
            began, cpu_began = self._clock(), self._cpu_clock()
            for _ in range(PROBES_A_SECOND):
                before = self._clock()
                await asyncio.sleep(pause_s)
                latest_s = max(latest_s, self._clock() - before - pause_s)
            self.loop_late_ms = latest_s * 1000
            media = self._media()
            opened = self._opened() - before_opened
            busy = (self._cpu_clock() - cpu_began) / (self._clock() - began)
            load = Load(
                busy=busy,
                legs=media.legs,
                opened=opened,
                stayed=self._stayed(began),
                tick_late_ms=media.late_now_ms,
                loop_late_ms=self.loop_late_ms,
                model_wait_ms=self._model_wait_ms(),
            )
            observe(self._admission, load, self._sessions, self._sessions.total - before_sessions)


def observe(calls: Admission, load: Load, sessions: SessionLoad, opened: int) -> None:
    """Give the figures of a second to both, who share their costs; each is judged by its own part of the load."""
    held = len(sessions)
    held_now = {calls.kind: Amount(load.legs, load.opened), sessions.admission.kind: Amount(held, opened)}
    calls.costs.learn(load.busy, held_now)
    calls.judge(replace(load, others=min(sessions.admission.share, load.busy)))
    # Sessions cannot hear that the audio of calls is late, but they share the processor with it.
    others = min(calls.share, load.busy)
    sessions.admission.judge(replace(load, legs=held, opened=opened, stayed=None, others=others))
