"""Messages that clients give: to the conversation, or as the input of one response."""

from __future__ import annotations

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from offhook.errors import ApiProblem
from offhook.wire.items import InputAudio, InputText, Message, OutputAudio, OutputText
from offhook.wire.problem import invalid

_PARTS_OF_ROLES: dict[str, tuple[type, ...]] = {"system": (InputText,), "assistant": (OutputText,)}


def check_parts(message: Message, path: str, *, spoken: bool = False) -> None:
    """Raise ApiProblem for a part that a message of its role cannot have.

    ``path`` is how the API calls the message. ``spoken``: the words of what the assistant said will do, too.
    """
    allowed = _PARTS_OF_ROLES.get(message.role)
    for index, part in enumerate(message.content):
        wrong = not isinstance(part, allowed) if allowed else isinstance(part, OutputText | OutputAudio)
        if spoken and message.role == "assistant" and isinstance(part, OutputAudio) and part.transcript is not UNSET:
            wrong = False
        if wrong:
            text = f"Invalid value: a part of this type cannot be added to a message of the {message.role}."
            raise ApiProblem(400, "invalid_value", text, param=f"{path}.content[{index}].type")


def check_words(message: Message, path: str) -> None:
    """Raise ApiProblem for audio that is none, or whose words are not told: nobody listens to it."""
    for index, part in enumerate(message.content):
        where = f"{path}.content[{index}]"
        if isinstance(part, InputAudio):
            if isinstance(part.audio, str):
                decode_base64(part.audio, f"{where}.audio")
            if not isinstance(part.transcript, str):
                raise invalid(
                    where, f"Invalid '{where}': audio cannot be the input of a response without its transcript."
                )


def without_audio(message: Message) -> Message:
    """Return a message with the words of its audio only."""
    content = tuple(
        InputAudio(transcript=None if part.transcript is UNSET else part.transcript)
        if isinstance(part, InputAudio)
        else part
        for part in message.content
    )
    return replace(message, content=content)


def decode_base64(text: str, param: str) -> bytes:
    """Return the audio. Raises ApiProblem for what is not base64."""
    try:
        return msgspec.convert(text, bytes)  # Five times as fast as binascii, and as strict.
    except (msgspec.ValidationError, UnicodeError):
        raise invalid(param, f"Invalid '{param}': expected base64-encoded audio bytes.") from None
