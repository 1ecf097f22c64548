"""What becomes of a response that upstream does not give: somebody else's, an apology, or a failure that is told."""

from __future__ import annotations

from typing import Literal

from offhook.session import inputs as happened
from offhook.session.relay.dialect import Dialect, FormatName
from offhook.session.relay.post import Post
from offhook.session.relay.runs import Bill, Run
from offhook.session.relay.speech import linear
from offhook.session.relay.steps import HandOver, HearInstead, Unheard
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

    def hear_all(self, message: str) -> None:
        """Upstream will tell no words any more: turns are heard here, if anybody is there to, whoever answers them."""
        for item_id in self._turns.unheard():
            unheard = self._release(item_id) if self.stands_in else None
            if unheard is None:
                self._turns.fail(item_id, "server_error", message)
            else:
                self._post.do(HearInstead(unheard))

    def _unheard(self, run: Run) -> tuple[Unheard, ...]:
        lacking = [
            str(item.id)
            for item in run.request.items
            if isinstance(item, Message) and any(_lacks_words(part) for part in item.content)
        ]
        return tuple(unheard for item_id in lacking if (unheard := self._release(item_id)) is not None)

    def _release(self, item_id: str) -> Unheard | None:
        """Return what there is to be heard of a turn; None when its sound is not kept."""
        kept = self._turns.release(item_id)
        if kept is None:
            return None
        pcm, rate_hz = linear(kept, self._spoken, self._dialect.pcm_in_hz)
        return Unheard(item_id, pcm, rate_hz)


def _lacks_words(part: object) -> bool:
    return isinstance(part, InputAudio) and part.transcript is None
