"""What becomes of a response that upstream does not give: somebody else's, an apology, or a failure that is told."""

from __future__ import annotations

from typing import Literal

from offhook.session import inputs as happened
from offhook.session.relay.dialect import Dialect, FormatName
from offhook.session.relay.post import Post
from offhook.session.relay.runs import Bill, Run
from offhook.session.relay.speech import linear
from offhook.session.relay.steps import HandOver, Unheard
from offhook.session.relay.turns import Turns
from offhook.wire.items import InputAudio, Message

ReserveKind = Literal["none", "apology", "stand-in"]


class Reserve:
    """Fails responses. One of which nothing has come is handed over, if there is anybody to take it.

    With it go the caller's turns whose words nobody knows: whoever stands in has to hear them.
    """

    def __init__(self, dialect: Dialect, spoken: FormatName, post: Post, turns: Turns, kind: ReserveKind) -> None:
        self._dialect = dialect
        self._spoken = spoken
        self._post = post
        self._turns = turns
        self._kind = kind

    @property
    def stands_in(self) -> bool:
        """Whether another model takes what upstream does not answer."""
        return self._kind == "stand-in"

    def fail(self, run: Run, failure: happened.GenerationFailed) -> None:
        """Upstream does not answer; what has begun is not begun again by another."""
        if self._kind == "none" or run.messages or run.calls:
            self._post.tell([failure])
        else:
            if run.bill is Bill.OPEN:
                run.bill = Bill.COUNTED
            self._post.do(HandOver(run.request, self._unheard(run) if self.stands_in else (), failure))

    def _unheard(self, run: Run) -> tuple[Unheard, ...]:
        unheard = []
        for item in run.request.items:
            if isinstance(item, Message) and any(_lacks_words(part) for part in item.content):
                kept = self._turns.release(str(item.id))
                if kept is not None:
                    pcm, rate_hz = linear(kept, self._spoken, self._dialect.pcm_in_hz)
                    unheard.append(Unheard(str(item.id), pcm, rate_hz))
        return tuple(unheard)


def _lacks_words(part: object) -> bool:
    return isinstance(part, InputAudio) and part.transcript is None
