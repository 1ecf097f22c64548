"""A telephone for tests and for measuring, with a server, a scripted model and a bad line behind it.

With pytest there is the ``phone`` fixture; without it begin with `Handset`, or with `AsyncHandset` where tests await.
The telephone alone, for any SIP address and any sound, is `offhook.testing.phone`. Authors of backends find what these
have to promise in the conformance classes. Each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offhook.testing.application import Access, ApplicationError, Webhook
    from offhook.testing.box import PhoneOptions
    from offhook.testing.clock import JumpLoop, StuckError
    from offhook.testing.conformance import (
        BackendConformance,
        LanguageModelConformance,
        SpeechToTextConformance,
        TextToSpeechConformance,
    )
    from offhook.testing.handset import AsyncCall, AsyncHandset, Latency, Line, NotHeardError
    from offhook.testing.ladder import Ladder
    from offhook.testing.model import Calls, Fails, ScriptedModel, Thinks, Turn
    from offhook.testing.phone import CallFailedError, Ended
    from offhook.testing.sync import Call, Handset

_PLACES = {
    "Access": "application",
    "ApplicationError": "application",
    "AsyncCall": "handset",
    "AsyncHandset": "handset",
    "BackendConformance": "conformance",
    "Call": "sync",
    "CallFailedError": "phone",
    "Calls": "model",
    "Ended": "phone",
    "Fails": "model",
    "Handset": "sync",
    "JumpLoop": "clock",
    "Ladder": "ladder",
    "LanguageModelConformance": "conformance",
    "Latency": "handset",
    "Line": "handset",
    "NotHeardError": "handset",
    "PhoneOptions": "box",
    "ScriptedModel": "model",
    "SpeechToTextConformance": "conformance",
    "StuckError": "clock",
    "TextToSpeechConformance": "conformance",
    "Thinks": "model",
    "Turn": "model",
    "Webhook": "application",
}

__all__ = [
    "Access",
    "ApplicationError",
    "AsyncCall",
    "AsyncHandset",
    "BackendConformance",
    "Call",
    "CallFailedError",
    "Calls",
    "Ended",
    "Fails",
    "Handset",
    "JumpLoop",
    "Ladder",
    "LanguageModelConformance",
    "Latency",
    "Line",
    "NotHeardError",
    "PhoneOptions",
    "ScriptedModel",
    "SpeechToTextConformance",
    "StuckError",
    "TextToSpeechConformance",
    "Thinks",
    "Turn",
    "Webhook",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'offhook.testing' has no attribute {name!r}")
    value = getattr(import_module(f"offhook.testing.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
