"""What the responses upstream took, told once of each: as upstream counted it, or as it was estimated here."""

from __future__ import annotations

from offhook.session.relay.post import Post
from offhook.session.relay.runs import Bill, Over, Run
from offhook.session.relay.steps import NoteUsage
from offhook.wire.server_events import Usage


class Meter:
    """Follows the responses that upstream was asked for. One that it refused, or never heard of, took nothing."""

    def __init__(self, post: Post) -> None:
        self._post = post

    def asked(self, run: Run) -> None:
        """Upstream was asked for a response."""
        run.bill = Bill.OPEN

    def refused(self, run: Run) -> None:
        """It did not take the request."""
        run.bill = Bill.NONE

    def counted(self, run: Run, usage: Usage | None) -> None:
        """It has ended a response, be it that nobody wants it any more, and said what that took, or did not."""
        run.counted = usage

    def foreign(self, usage: Usage | None) -> None:
        """It has ended a response that nobody had asked for."""
        if usage is not None:
            self._post.do(NoteUsage(usage, is_estimated=False))

    def closed(self, run: Run, estimate: Usage | None) -> None:
        """A response is over here; what it took is estimated, or known from upstream."""
        run.estimate = estimate
        self.settle(run)

    def settle(self, run: Run) -> None:
        """Tell what a response took when nothing more of it can come, and as soon as that is known."""
        if run.bill not in (Bill.OPEN, Bill.COUNTED) or not isinstance(run.state, Over):
            return
        usage = run.counted or (run.estimate if run.bill is Bill.OPEN else None)
        if usage is not None:
            run.bill = Bill.TOLD
            self._post.do(NoteUsage(usage, is_estimated=run.counted is None))
