"""What only offhook has: the member ``offhook`` of a session and of ``response.create``, apart from the contract.

It is taken where a session is (``accept``, ``session.update``) or a response is asked for, and never shown: what
clients get back has the members of the API and no others.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from offhook.errors import ApiProblem
from offhook.wire import limits
from offhook.wire.problem import invalid, missing_parameter

Sentence = Annotated[str, Meta(max_length=limits.MAX_SENTENCE_CHARS)]
Clip = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class WhileWaiting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the caller hears when nothing was heard for ``after_ms`` although something is being worked on.

    Exactly one of: a sentence, a soft tone now and then, or a clip of the server's folder by its name.
    """

    after_ms: Annotated[int, Meta(ge=limits.MIN_WAITING_MS, le=limits.MAX_WAITING_MS)] | UnsetType = UNSET
    say: Annotated[str, Meta(min_length=1, max_length=limits.MAX_SENTENCE_CHARS)] | UnsetType = UNSET
    tone: bool | UnsetType = UNSET
    clip: Clip | UnsetType = UNSET


class OwnParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our own members of a session. Absent ones keep their value or the server's setting; null switches off.

    ``speak_first``: the agent begins, with these words or (true) with whatever the model says. ``apology``: what is
    said when a model has failed.
    """

    speak_first: bool | Sentence | None | UnsetType = UNSET
    while_waiting: WhileWaiting | None | UnsetType = UNSET
    apology: Sentence | None | UnsetType = UNSET


class OwnResponse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our own members of ``response.create``. ``say``: these words are said, and no model is asked."""

    say: Annotated[str, Meta(min_length=1, max_length=limits.MAX_SENTENCE_CHARS)] | UnsetType = UNSET


def check_own(params: OwnParams, path: str) -> None:
    """Check what types cannot say. Raises ApiProblem 400 with the path in ``param``."""
    wanted = params.while_waiting
    if not isinstance(wanted, WhileWaiting):
        return
    here = f"{path}.while_waiting"
    ways = sum(bool(each) for each in (wanted.say, wanted.tone, wanted.clip))
    if not ways:
        raise missing_parameter(f"{here}.say")
    if ways > 1:
        raise invalid(here, f"Invalid '{here}': give only one of say, tone and clip.")


_WHERE = "session.offhook.while_waiting"


# -- what holds, after the server's settings and all updates


class Say(msgspec.Struct, frozen=True, tag="say"):
    """A sentence, spoken once and to its end."""

    text: str


class Beep(msgspec.Struct, frozen=True, tag="tone"):
    """A soft tone now and then."""


class PlayClip(msgspec.Struct, frozen=True, tag="clip"):
    """A clip, over and over."""

    name: str


class Own(msgspec.Struct, frozen=True):
    """The effective values; ``apology`` None is the server's own."""

    speak_first: bool | str = False
    filling: Say | Beep | PlayClip | None = None
    filling_after_ms: int = 1500
    apology: str | None = None


def update_own(
    own: Own, params: OwnParams | None | UnsetType, defaults: Own, clips: frozenset[str], *, plays: bool = True
) -> Own:
    """Return the values after an update. ``plays``: the server plays, as it does on calls.

    Raises ApiProblem 400 for a clip that there is not, and for what only a server that plays could let be heard.
    """
    if isinstance(params, UnsetType):
        return own
    if params is None:
        return defaults
    changes: dict[str, object] = {}
    if params.speak_first is not UNSET:
        changes["speak_first"] = params.speak_first or False
    if params.apology is not UNSET:
        changes["apology"] = params.apology or ""
    match params.while_waiting:
        case None:
            changes["filling"] = None
        case WhileWaiting() as wanted:
            changes["filling"] = filling = _filling(wanted, clips)
            if not plays and not isinstance(filling, Say):
                way = "tone" if isinstance(filling, Beep) else "clip"
                message = f"Invalid '{_WHERE}.{way}': in this session the client plays, which takes no more than 'say'."
                raise invalid(f"{_WHERE}.{way}", message)
            changes["filling_after_ms"] = wanted.after_ms or defaults.filling_after_ms
        case _:
            pass
    return msgspec.structs.replace(own, **changes)


def _filling(wanted: WhileWaiting, clips: frozenset[str]) -> Say | Beep | PlayClip:
    if wanted.say:
        return Say(wanted.say)
    if wanted.clip is UNSET:
        return Beep()
    if wanted.clip not in clips:
        known = ", ".join(sorted(clips)) or "the server has none (--clips)"
        param = f"{_WHERE}.clip"
        raise ApiProblem(400, "invalid_value", f"Invalid value: '{wanted.clip}'. Clips are: {known}.", param=param)
    return PlayClip(wanted.clip)
