"""Takes the figures that admission control lives by: once a second, how busy and how late everything was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from offhook.host.admission import Admission, Load

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


class LoadSampler:
    """Measures the event loop's lateness with a timer of its own, and reads the audio plane's and the models'.

    ``opened`` counts the legs opened since the start, ``stayed`` the calls that came before a time and are there still,
    ``cpu_clock`` the processor time of this process in seconds: what
    others take from it while it works must not pass for the cost of its calls.
    """

    def __init__(
        self,
        admission: Admission,
        *,
        media: Callable[[], MediaLoad],
        opened: Callable[[], int],
        stayed: Callable[[float], int],
        model_wait_ms: Callable[[], float],
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._media = media
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
            latest_s, before_opened = 0.0, self._opened()
            began, cpu_began = self._clock(), self._cpu_clock()
            for _ in range(PROBES_A_SECOND):
                before = self._clock()
                await asyncio.sleep(pause_s)
                latest_s = max(latest_s, self._clock() - before - pause_s)
            self.loop_late_ms = latest_s * 1000
            media = self._media()
            opened = self._opened() - before_opened
            busy = (self._cpu_clock() - cpu_began) / (self._clock() - began)
            self._admission.observe(
                Load(
                    busy=busy,
                    legs=media.legs,
                    opened=opened,
                    stayed=self._stayed(began),
                    tick_late_ms=media.late_now_ms,
                    loop_late_ms=self.loop_late_ms,
                    model_wait_ms=self._model_wait_ms(),
                )
            )
