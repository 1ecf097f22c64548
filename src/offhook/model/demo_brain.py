"""What thinks when no language model is configured: a few rules that say so, enough to try everything around them.

It holds a small talk, repeats what it heard otherwise, says what the client tells it to say, and calls a declared
function when one of its words was heard. The same request always gets the same answer.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from offhook.model.demo_tools import arguments, best_match
from offhook.model.interface import ModelOutput
from offhook.session.inputs import GenerationFinished, TextProduced, ToolArgumentsProduced, ToolCallStarted
from offhook.session.outputs import Generate
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputAudio, InputText, Item, Message
from offhook.wire.session import FunctionTool, ToolChoiceFunction, ToolChoiceMcp

DEMO: Final = "demo"
"""Its name, in logs and in ``/health``."""

GREETING: Final = (
    "Hello! This is the demo of offhook. I am not a language model: I hold a small talk, and repeat what I hear."
)
DISCLAIMER: Final = "This is the demo of offhook, without a language model."
NOT_HEARD: Final = "I did not hear any words. Are you still there?"
STILL_HERE: Final = "I am still here."

# What is read of a turn, and what is said of a tool's result. More makes no better demonstration.
MAX_HEARD_CHARS: Final = 1000
MAX_RESULT_CHARS: Final = 400
_MAX_RESULT_DEPTH: Final = 3
_MAX_RESULT_MEMBERS: Final = 10
# A greeting or thanks within more words than this is not what the sentence is about.
_SHORT_WORDS: Final = 6

_SMALL_TALK: Final = (
    (r"\bhow (are|do) you\b|\bhow('s| is) it going\b", "I am fine, thank you. And how are you?"),
    (
        r"\byour name\b|\b(who|what) are you\b|\bare you (a |an )?(robot|bot|machine|computer|human|person|real)\b",
        "I am the demo of offhook, a small program with a voice.",
    ),
    (
        r"\bwhat can you do\b|\bcan you help\b|\bhelp me\b",
        "Not much: I repeat what you say, and call a function when you name it. Give me a language model, then I can.",
    ),
    (
        r"\bwhat('s| is)? (the )?(time|day|date)\b|\b(opening|business|office) hours\b|\b(when|are you)\b.*\bopen\b",
        "I know neither the time nor any opening hours. I am only a demo.",
    ),
)
_SHORT_TALK: Final = (
    (r"\b(good ?bye|bye|see you|farewell)\b", "Goodbye, and thank you for calling."),
    (r"\b(thanks|thank you)\b", "You are welcome."),
    (r"^\W*(hello|hi|hey|good (morning|afternoon|evening|day))\b", "Hello! What would you like to say?"),
)
_QUOTED: Final = re.compile(
    r"[\"\u201c]([^\"\u201c\u201d]+)[\"\u201d]"
    r"|(?<!\w)['\u2018]((?:[^\n'\u2018\u2019]|(?<=\w)['\u2019](?=\w))+)['\u2019](?!\w)"
)
_SAY: Final = re.compile(
    r"\b(?:say|speak|tell|announce|repeat|read)\b[^:\n]{0,80}:\s*(\S.*)", re.IGNORECASE | re.DOTALL
)
_GREET: Final = re.compile(r"\b(greet|welcome|introduce yourself|say (hello|hi))\b", re.IGNORECASE)


class DemoBrain:
    """The demo brain as a LanguageModel."""

    @property
    def name(self) -> str:
        """It never passes for more than it is."""
        return DEMO

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield a sentence or two, or a function call, and an end."""
        for output in answer(request):
            yield output


def answer(request: Generate) -> list[ModelOutput]:
    """Return all that the demo brain makes of a request."""
    run = request.run
    heard = _last_heard(request.items)
    function = _function(request, heard or "")
    if function is not None:
        given = msgspec.json.encode(arguments(function, heard or "")).decode()
        return [ToolCallStarted(run, 0, function.name), ToolArgumentsProduced(run, 0, given), GenerationFinished(run)]
    text = _reply(request, heard)
    limit = request.max_output_tokens
    words = text.split(" ")
    if limit != "inf" and len(words) > limit:
        return [TextProduced(run, " ".join(words[:limit])), GenerationFinished(run, "max_output_tokens")]
    return [TextProduced(run, text), GenerationFinished(run)]


def _function(request: Generate, heard: str) -> FunctionTool | None:
    """Return the function to call; after its result it is time to speak."""
    functions = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    if not functions or _results(request.items):
        return None
    match request.tool_choice:
        case "none" | ToolChoiceMcp():
            return None
        case "required":
            return best_match(functions, heard) or functions[0]
        case ToolChoiceFunction(name=name):
            return next((each for each in functions if each.name == name), None)
        case "auto":
            told = request.directed and _told(request.instructions) is not None
            return None if told else best_match(functions, heard)


def _reply(request: Generate, heard: str | None) -> str:
    if request.directed and (told := _told(request.instructions)) is not None:
        return told
    introduced = any(isinstance(item, Message) and item.role == "assistant" for item in request.items)
    if results := _results(request.items):
        reply = " ".join(map(_as_words, results))
    elif heard is None:
        return STILL_HERE if introduced else GREETING
    elif not heard:
        reply = NOT_HEARD
    else:
        talk = _small_talk(heard)
        if not introduced and talk == _SHORT_TALK[-1][1]:
            return GREETING
        reply = talk or f"I heard you say: {heard}"
    return reply if introduced else f"{DISCLAIMER} {reply}"


def _last_heard(items: tuple[Item, ...]) -> str | None:
    """Return the user's last words, empty when nothing was understood; None when the user has not said anything yet.

    What the agent has answered already counts no more.
    """
    for item in reversed(items):
        if not isinstance(item, Message) or item.role == "system":
            continue
        if item.role == "assistant":
            return None
        parts = [part.text for part in item.content if isinstance(part, InputText)]
        parts += [part.transcript for part in item.content if isinstance(part, InputAudio) and part.transcript]
        return " ".join(" ".join(parts).split())[:MAX_HEARD_CHARS]
    return None


def _results(items: tuple[Item, ...]) -> list[str]:
    """Return the outputs of functions that nobody has spoken about yet, oldest first."""
    found: list[str] = []
    for item in reversed(items):
        match item:
            case FunctionCallOutput(output=output):
                found.append(output)
            case FunctionCall() | Message(role="system"):
                pass
            case _:
                break
    return found[::-1]


def _told(instructions: str) -> str | None:
    """Return what the instructions of one response want to be said."""
    quotes = (" ".join((quoted[1] or quoted[2]).split()) for quoted in _QUOTED.finditer(instructions))
    if (quoted := next(filter(None, quotes), None)) is not None:
        return quoted
    if (said := _SAY.search(instructions)) is not None:
        return " ".join(said[1].split())
    return GREETING if _GREET.search(instructions) else None


def _small_talk(heard: str) -> str | None:
    small = heard.lower().replace("\u2019", "'")
    short = len(small.split()) <= _SHORT_WORDS
    return next(
        (reply for pattern, reply in (*_SMALL_TALK, *(_SHORT_TALK if short else ())) if re.search(pattern, small)), None
    )


# -- a result of a function, in words


def _as_words(output: str) -> str:
    try:
        value: Any = msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeError):
        value = output
    words = " ".join(_words_of(value, 0).split()) or "It is done"
    if len(words) > MAX_RESULT_CHARS:
        words = words[:MAX_RESULT_CHARS].rpartition(" ")[0] + ", and so on"
    return words if words[-1] in ".!?" else words + "."


def _words_of(value: Any, depth: int) -> str:
    match value:
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case None:
            return "nothing"
        case dict() if depth < _MAX_RESULT_DEPTH:
            members = list(value.items())[:_MAX_RESULT_MEMBERS]
            return ", ".join(f"{_name(key)} is {_words_of(member, depth + 1)}" for key, member in members)
        case list() if depth < _MAX_RESULT_DEPTH:
            return ", ".join(_words_of(member, depth + 1) for member in value[:_MAX_RESULT_MEMBERS])
        case dict() | list():
            return "something longer"
        case _:
            return str(value)


def _name(key: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", key).lower()
