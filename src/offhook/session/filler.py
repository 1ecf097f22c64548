"""A sentence said while something is worked on, where the client plays: a response beside the conversation.

It comes when all of it is made, opened and closed in one step, so that it neither stands in the way of a response of
the conversation, which may be in progress or asked for at any moment, nor mixes its sound with an answer's. Source: API
reference, ``conversation: "none"`` of "response.create".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from offhook.session import inputs as happened
from offhook.session.request import response_settings
from offhook.session.response import Completed, Response
from offhook.session.usage import make_usage
from offhook.wire.client_events import ResponseParams
from offhook.wire.server_events import InputTokens

if TYPE_CHECKING:
    from offhook.session.engine import Engine

METADATA: Final = {"offhook": "while_waiting"}
"""By this a client knows such a response; one that asked for others beside the conversation has theirs to look for."""


def tell_filler(engine: Engine, text: str, sounds: Sequence[happened.FillerSound]) -> None:
    """Send a sentence and its sound to the client."""
    wanted = ResponseParams(conversation="none", output_modalities=("audio",), metadata=METADATA)
    settings = response_settings(engine.session, wanted, voice_locked=engine.has_spoken, formats_given=True)
    response = Response(engine.new_run(), settings, None, engine.ids, keeps_open=True)
    engine.has_spoken = True
    engine.send_all(response.open())
    engine.send_all(response.add_text(text))
    for sound in sounds:
        event = happened.AudioProduced(response.run, sound.pcm, sound.rate_hz, sound.duration_ms, "")
        engine.send_all(response.add_audio(sound.duration_ms, "", None))
        engine.door.say(response, event)
    engine.door.finish(response, whole=True)
    engine.tell_end(response, Completed(), make_usage(InputTokens(), response.produced_tokens, response.produced_ms))
