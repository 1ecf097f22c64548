"""How near the plane is to its limit: what admission control reads."""

from __future__ import annotations

from dataclasses import dataclass

from offhook.media import limits


@dataclass(frozen=True, slots=True)
class Load:
    """The last seconds of the plane.

    ``busy`` is the share of the last second spent in steps by the wall clock, ``cpu`` by the processor's; both are zero
    when nobody measures them. Lateness is how long after its time a step began, in the last five seconds, and
    ``late_now_ms`` the 99th percentile of the last one.
    ``vad_queued`` windows waited after the last run of the detector, ``vad_judged`` and ``vad_skipped`` count all since
    the start.
    """

    legs: int
    busy: float
    cpu: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    late_now_ms: float
    skipped_frames: int
    vad_queued: int
    vad_judged: int
    vad_skipped: int
    failures: int


class LoadMeter:
    """Collects the figures of steps; one thread writes, any thread reads."""

    __slots__ = ("_busy_s", "_cpu_s", "_index", "_late_s", "_steps", "failures", "skipped_frames")

    def __init__(self) -> None:
        self._late_s = [0.0] * limits.LOAD_STEPS
        self._busy_s = [0.0] * limits.LOAD_STEPS
        self._cpu_s = [0.0] * limits.LOAD_STEPS
        self._index = 0
        self._steps = 0
        self.skipped_frames = 0
        """Frames left out because a tick came too late."""
        self.failures = 0
        """Legs closed because they broke, and steps that raised."""

    def began(self, late_s: float) -> None:
        """A step begins, so long after its time."""
        self._index = self._steps % limits.LOAD_STEPS
        self._steps += 1
        self._late_s[self._index] = late_s
        self._busy_s[self._index] = self._cpu_s[self._index] = 0.0

    def passed(self, steps: int) -> None:
        """So many steps were not needed; nobody waited for them."""
        for _ in range(min(steps, limits.LOAD_STEPS)):
            self.began(0.0)

    def ended(self, busy_s: float, cpu_s: float) -> None:
        """The step that began last took so long."""
        self._busy_s[self._index] = busy_s
        self._cpu_s[self._index] = cpu_s

    def read(self, *, legs: int, vad_queued: int, vad_judged: int, vad_skipped: int) -> Load:
        """Sum up. The lists are copied in one operation each, so a step that runs meanwhile does no harm."""
        steps = min(self._steps, limits.LOAD_STEPS)
        late_s = sorted(self._late_s[:steps]) or [0.0]
        recent = [index % limits.LOAD_STEPS for index in range(max(self._steps - limits.BUSY_STEPS, 0), self._steps)]
        late_now_s = sorted(self._late_s[index] for index in recent) or [0.0]
        span_s = max(len(recent), 1) * limits.STEP_S
        return Load(
            legs=legs,
            busy=sum(self._busy_s[index] for index in recent) / span_s,
            cpu=sum(self._cpu_s[index] for index in recent) / span_s,
            late_p50_ms=late_s[len(late_s) // 2] * 1000,
            late_p99_ms=late_s[len(late_s) * 99 // 100] * 1000,
            late_max_ms=late_s[-1] * 1000,
            late_now_ms=late_now_s[len(late_now_s) * 99 // 100] * 1000,
            skipped_frames=self.skipped_frames,
            vad_queued=vad_queued,
            vad_judged=vad_judged,
            vad_skipped=vad_skipped,
            failures=self.failures,
        )
