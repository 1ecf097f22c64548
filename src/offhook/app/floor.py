"""Who has the floor: which response is under way, what is still played, and what the application may ask for now.

A server makes one response of the conversation at a time, and makes some by itself when the caller has spoken. What
the application wants (a sentence said, an answer to the outputs of functions) waits here for its turn. Nothing here
waits, sends or reads a clock: events go in, actions come out.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, assert_never

from offhook.app import facts
from offhook.app.facts import Fact, OutputItem, ResponseFacts

# Responses that are played at a time are one or two; a server that tells no ends is not remembered for ever.
MAX_AUDIBLE: Final = 16
BUSY: Final = "conversation_already_has_active_response"
MARK: Final = "offhook_app"
"""The key of the metadata by which a response shows whose it is."""


# -- actions


@dataclass(frozen=True, slots=True)
class SendEvent:
    """Send this client event."""

    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFunctions:
    """A response ended with these function calls."""

    calls: tuple[OutputItem, ...]


@dataclass(frozen=True, slots=True)
class SentenceSettled:
    """A sentence was heard to its end, or it never will be."""

    number: int
    heard: bool


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The server refused a response for a reason that waiting does not mend."""

    code: str
    message: str


Action = SendEvent | RunFunctions | SentenceSettled | RequestFailed


# -- what is wanted


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence that is to be said. ``verbatim``: the server is offhook, which says it as it stands."""

    number: int
    text: str
    verbatim: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The model is to go on, with the outputs of its functions."""


Wish = Sentence | Answer


# -- the floor


@dataclass(frozen=True, slots=True)
class Free:
    """No response is under way."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One was asked for by the event ``event_id``, and has not begun."""

    event_id: str
    wish: Wish


@dataclass(frozen=True, slots=True)
class Taken:
    """This response is under way, "" when only that is known. ``wish`` is what it fulfils, None for one not ours.

    ``doubted``: the event that asked for it, as long as that is a guess.
    """

    response_id: str
    wish: Wish | None = None
    doubted: str = ""


class Floor:
    """Follows one conversation.

    ``name`` is what its requests begin with: another one's on the same call is not taken for ours. ``takes_turns``:
    the server answers the caller by itself (turn detection).
    """

    def __init__(self, name: str = "app", *, takes_turns: bool = True) -> None:
        self.takes_turns = takes_turns
        self._name = name
        self._state: Free | Asked | Taken = Free()
        self._sentences: deque[Sentence] = deque()
        self._answer_owed = False
        self._unseen: set[str] = set()  # function calls whose outputs the server has not told to have
        self._caller_speaks = False
        self._audible: dict[str, bool] = {}  # responses with sound to come; True when it began
        self._heard_early: set[str] = set()  # played to the end before the response was told to be done
        self._playing_sentences: dict[str, int] = {}
        self._count = 0

    @property
    def quiet(self) -> bool:
        """Whether the agent neither speaks nor is about to."""
        return isinstance(self._state, Free) and not self._audible and not self._sentences

    # -- wishes

    def say(self, sentence: Sentence) -> list[Action]:
        """Say a sentence as soon as no response is under way; `SentenceSettled` follows in any case."""
        self._sentences.append(sentence)
        return self._next()

    def withdraw(self, number: int) -> None:
        """Nobody waits for a sentence any more; one that has not begun is not said, and holds up nothing."""
        self._sentences = deque(each for each in self._sentences if each.number != number)
        self._playing_sentences = {key: value for key, value in self._playing_sentences.items() if value != number}
        match self._state:
            case Asked(wish=Sentence(number=asked)) if asked == number:
                self._state = Free()
            case _:
                pass

    def answer(self, call_ids: Iterable[str]) -> list[Action]:
        """Let the model go on with the outputs of these calls.

        A response that the server begins by itself is as good, if it has the outputs by then.
        """
        self._answer_owed = True
        self._unseen.update(call_ids)
        return self._next()

    def lose(self) -> list[Action]:
        """Forget what was under way: the socket was lost, and nobody knows what happened meanwhile."""
        settled: list[Action] = [SentenceSettled(each, heard=False) for each in self._playing_sentences.values()]
        match self._state:
            case Asked(wish=Sentence() as sentence):
                settled.append(SentenceSettled(sentence.number, heard=False))
            case Asked(wish=Answer()):
                self._answer_owed = True
            case Taken(wish=Sentence() as sentence):
                settled.append(SentenceSettled(sentence.number, heard=False))
            case _:
                pass
        self._state = Free()
        self._caller_speaks = False
        self._audible.clear()
        self._heard_early.clear()
        self._playing_sentences.clear()
        return settled

    def resume(self) -> list[Action]:
        """Go on with what is wanted, on a new socket."""
        return self._next()

    # -- events

    def take(self, fact: Fact) -> list[Action]:
        """Take what happened; return what to do, in order."""
        match fact:
            case facts.ResponseBegan(response=response):
                return self._began(response)
            case facts.ResponseEnded(response=response):
                return self._ended(response)
            case facts.PlayingBegan(response_id=response_id):
                self._audible[response_id] = True
            case facts.PlayingEnded(response_id=response_id):
                return self._played(response_id, heard=True)
            case facts.PlayingCut(response_id=response_id):
                return self._played(response_id, heard=False)
            case facts.CallerBegan():
                self._caller_speaks = True
            case facts.CallerEnded():
                self._caller_speaks = False
            case facts.ItemAdded(item=item):
                self._unseen.discard(item.call_id)
            case facts.SessionChanged(takes_turns=takes_turns):
                self.takes_turns = self.takes_turns if takes_turns is None else takes_turns
            case facts.Refused(error=error):
                return self._refused(error)
            case facts.TransferMoved() | facts.CallOver():
                pass
            case _:
                assert_never(fact)
        return []

    def _began(self, response: ResponseFacts) -> list[Action]:
        if response.conversation_id is None:
            return []
        state, taken = self._state, Taken(response.id)
        if isinstance(state, Asked):
            mark = (response.metadata or {}).get(MARK)
            if mark == state.event_id:
                taken = Taken(response.id, state.wish)
            elif mark is None:
                # Not every server shows metadata. If this one is the server's own, it refuses ours.
                taken = Taken(response.id, state.wish, doubted=state.event_id)
            else:
                self._postpone(state.wish)
        if not isinstance(taken.wish, Sentence) and not self._unseen:
            self._answer_owed = False
        self._state = taken
        while len(self._audible) > MAX_AUDIBLE:
            del self._audible[next(iter(self._audible))]
        return []

    def _ended(self, response: ResponseFacts) -> list[Action]:
        if response.conversation_id is None:
            return []
        actions: list[Action] = []
        wish: Wish | None = None
        if isinstance(self._state, Taken) and self._state.response_id in {response.id, ""}:
            wish, self._state = self._state.wish, Free()
        completed = response.status == "completed"
        heard_early = response.id in self._heard_early
        self._heard_early.clear()
        if completed and not heard_early and any(map(_is_spoken, response.output)):
            self._audible.setdefault(response.id, False)
        elif not completed and not self._audible.get(response.id, False):
            self._audible.pop(response.id, None)
        if isinstance(wish, Sentence):
            if response.id in self._audible:
                self._playing_sentences[response.id] = wish.number
            else:
                actions.append(SentenceSettled(wish.number, heard=completed))
        if completed and (calls := tuple(each for each in response.output if each.type == "function_call")):
            actions.append(RunFunctions(calls))
        return actions + self._next()

    def _played(self, response_id: str, *, heard: bool) -> list[Action]:
        self._audible.pop(response_id, None)
        if isinstance(self._state, Taken) and self._state.response_id == response_id and heard:
            self._heard_early.add(response_id)
        number = self._playing_sentences.pop(response_id, None)
        return [] if number is None else [SentenceSettled(number, heard=heard)]

    def _refused(self, error: facts.ErrorFacts) -> list[Action]:
        """Take a refusal of what was asked for last; servers sometimes leave out which event they refuse."""
        busy = error.code == BUSY
        match self._state:
            case Taken(response_id=response_id, wish=Sentence() | Answer() as wish, doubted=asked) if asked:
                if busy and error.event_id in {asked, None}:
                    self._postpone(wish)
                    self._state = Taken(response_id)
            case Asked(event_id=asked, wish=wish) if busy and error.event_id in {asked, None}:
                # One began before this socket listened; its end will be told.
                self._postpone(wish)
                self._state = Taken("")
            case Asked(event_id=asked, wish=wish) if error.event_id == asked:
                self._state = Free()
                actions: list[Action] = [RequestFailed(error.code or "", error.message or "")]
                if isinstance(wish, Sentence):
                    actions.append(SentenceSettled(wish.number, heard=False))
                return actions + self._next()
            case _:
                pass
        return []

    # -- asking

    def _postpone(self, wish: Wish) -> None:
        match wish:
            case Sentence():
                self._sentences.appendleft(wish)
            case Answer():
                self._answer_owed = True
            case _:
                assert_never(wish)

    def _next(self) -> list[Action]:
        if not isinstance(self._state, Free):
            return []
        if self._sentences:
            return [self._ask(self._sentences.popleft())]
        # While the caller speaks nobody talks; the server answers both, the words and the outputs.
        if self._answer_owed and not (self._caller_speaks and self.takes_turns):
            self._answer_owed = False
            self._unseen.clear()
            return [self._ask(Answer())]
        return []

    def _ask(self, wish: Wish) -> SendEvent:
        self._count += 1
        event_id = f"{self._name}_{self._count}"
        self._state = Asked(event_id, wish)
        response: dict[str, Any] = {"metadata": {MARK: event_id}}
        if isinstance(wish, Sentence):
            response |= said_verbatim(wish.text) if wish.verbatim else said_if_possible(wish.text)
        return SendEvent({"type": "response.create", "event_id": event_id, "response": response})


def said_verbatim(text: str) -> dict[str, Any]:
    """Return the members of a response in which offhook says a text as it stands: no model is asked."""
    return {"offhook": {"say": text}, "input": []}


def said_if_possible(text: str) -> dict[str, Any]:
    """Return the members of a response in which a model reads a text out, if it does as it is told.

    It sees nothing of the conversation, so that it has nothing else to speak of.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    instructions = f"Say the following to the caller, word for word, in its language, and nothing else: {quoted}"
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"instructions": instructions, "input": [message], "tool_choice": "none"}


def _is_spoken(item: OutputItem) -> bool:
    if item.type != "message":
        return False
    return any(isinstance(part, dict) and part.get("type") in {"output_audio", "audio"} for part in item.content or [])
