"""What is being played to the caller, run by run, and the stopping of it."""

from __future__ import annotations

import msgspec

from offhook.session.response import Response

# The media plane obeys a stop within a tick; when even this passes, the last known position has to do.
STOP_GRACE_S = 0.25


class QueuedRun(msgspec.Struct):
    """Audio of one response on its way to the caller."""

    response: Response
    played_ms: float = 0.0
    started: bool = False
    reported: bool = False


class Flowing(msgspec.Struct, frozen=True):
    """Audio, if any, goes out as it comes."""


class Stopping(msgspec.Struct, frozen=True):
    """A stop of ``runs`` was commanded; what was really sent of each is not known yet.

    ``cancels`` is the response that was being generated and ends with the stop.
    """

    until: float
    runs: dict[int, QueuedRun]
    cancels: Response | None


class Playout:
    """The runs that are queued or playing, oldest first, and those that are being stopped."""

    def __init__(self) -> None:
        self.state: Flowing | Stopping = Flowing()
        self.runs: dict[int, QueuedRun] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is queued, playing, or being stopped."""
        return bool(self.runs) or isinstance(self.state, Stopping)

    @property
    def left_ms(self) -> float:
        """How much of what was produced has not been played."""
        return sum(max(queued.response.produced_ms - queued.played_ms, 0.0) for queued in self.runs.values())

    def queue(self, response: Response) -> None:
        """Take note that audio of a response was queued."""
        if response.run not in self.runs:
            self.runs[response.run] = QueuedRun(response)

    def find(self, run: int) -> QueuedRun | None:
        """Return a run that is queued, playing or being stopped."""
        if isinstance(self.state, Stopping) and run in self.state.runs:
            return self.state.runs[run]
        return self.runs.get(run)

    def is_cancelling(self, response: Response) -> bool:
        """Say whether a response ends with the stop in progress, so that nothing more of it counts."""
        return isinstance(self.state, Stopping) and self.state.cancels is response

    def is_stopping(self, run: int) -> bool:
        """Say whether a run is being stopped, so that no more of its sound is to be heard."""
        return isinstance(self.state, Stopping) and run in self.state.runs

    @property
    def unsettled(self) -> set[str]:
        """The items of which it is not known yet how much was heard."""
        if not isinstance(self.state, Stopping):
            return set()
        return {message.item_id for queued in self.state.runs.values() for message in queued.response.spoken}

    def stop(self, now: float, cancels: Response | None) -> None:
        """Begin to stop everything that is queued now; what is queued later is not touched by it."""
        runs, self.runs = self.runs, {}
        match self.state:
            case Stopping() as state:
                self.state = Stopping(state.until, state.runs | runs, cancels or state.cancels)
            case Flowing():
                self.state = Stopping(now + STOP_GRACE_S, runs, cancels)

    def deadline(self) -> float | None:
        """Return when a commanded stop is taken as done."""
        return self.state.until if isinstance(self.state, Stopping) else None
