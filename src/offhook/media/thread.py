"""The one thread that drives the plane in real time."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import Final

from offhook.errors import LocalError
from offhook.media.plane import MediaPlane

_log: Final = logging.getLogger(__name__)
# Every socket call gives the interpreter lock away, and a busy thread then keeps it for the switch interval. With the
# usual 5 ms, 50 legs beside a thread that computes without a pause ran 320 ms late (p99); with this they run 5 ms late.
_SWITCH_INTERVAL_S: Final = 0.0005
# Where the system lets us (as root, or by RLIMIT_NICE): a step that is due runs before the event loop's work. With 800
# set-ups a second on one core, steps are 6 ms late instead of 12 (p99).
_NICENESS: Final = -10
_REST_S: Final = 0.25  # Without calls; a command ends it at once.
_QUIET_S: Final = 10.0  # A step that fails fails again 5 ms later; it is logged this often.


class MediaThread:
    """Runs `MediaPlane.step` at its deadlines on the monotonic clock, until `stop`.

    Between steps it sleeps, without calls until the next command; only while urgent legs are open does it wait on their
    sockets instead. A step that raises is logged and counted, and the next one runs: one broken moment is no reason to
    end all calls.
    """

    def __init__(self, plane: MediaPlane) -> None:
        self._plane = plane
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="offhook-media", daemon=True)
        self._complained_at = float("-inf")

    def start(self) -> None:
        """Begin; a thread runs once. Lowers the process's `sys.setswitchinterval` to half a millisecond."""
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close all legs and end the thread; `LocalError` if it does not end in time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise LocalError("the media thread does not end")

    def _run(self) -> None:
        _hurry()
        plane = self._plane
        clock, cpu_clock = time.monotonic, time.thread_time
        due = clock()
        while not self._stopping.is_set():
            began, cpu_began = clock(), cpu_clock()
            try:
                due = plane.step(began)
            except Exception:  # a bug: counted and told, and all calls go on
                due = began + 0.005
                self._complain(began)
            plane.meter.ended(clock() - began, cpu_clock() - cpu_began)
            if plane.idle and not self._stopping.is_set():
                plane.rest(_REST_S)
                due = plane.rested(clock())
            while (left_s := due - clock()) > 0:
                # The poller counts whole milliseconds and rounds up; the last one is slept.
                if plane.has_urgent and left_s > 0.001:
                    self._attend(left_s - 0.001)
                else:
                    time.sleep(left_s)
        plane.close(clock())

    def _attend(self, timeout_s: float) -> None:
        try:
            ready = self._plane.wait_urgent(timeout_s)
            if ready:
                self._plane.serve_urgent(ready, time.monotonic())
        except Exception:  # as above
            self._complain(time.monotonic())
            time.sleep(0.001)

    def _complain(self, now: float) -> None:
        self._plane.meter.failures += 1
        if now - self._complained_at >= _QUIET_S:
            self._complained_at = now
            _log.exception("a step of the media plane failed")


def _hurry() -> None:
    """Raise the priority of this thread; not everybody may."""
    if sys.platform == "linux":  # Elsewhere priorities are of processes.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
