"""Text of models as it can be sent on: halves of surrogate pairs, which no UTF-8 has, become replacement characters."""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from offhook.model.interface import Words
from offhook.session import inputs as talk


def well_formed(text: str) -> str:
    """Return a text that has an encoding (Unicode, 3.9): pairs in two halves joined, lone halves as U+FFFD."""
    if not text or text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def well_formed_output(output: talk.Input) -> talk.Input:
    """Return what a model produced with all its text well formed."""
    match output:
        case talk.TextProduced(text=text) | talk.AudioProduced(text=text):
            mended = well_formed(text)
            return output if mended is text else replace(output, text=mended)
        case talk.ToolArgumentsProduced(delta=delta):
            mended = well_formed(delta)
            return output if mended is delta else replace(output, delta=mended)
        case talk.ToolCallStarted(name=name, call_id=call_id):
            return replace(output, name=well_formed(name), call_id=None if call_id is None else well_formed(call_id))
        case talk.GenerationFailed(code=code, message=message, kind=kind):
            return replace(output, code=well_formed(code), message=well_formed(message), kind=well_formed(kind))
        case talk.ModelComplained(code=code, message=message, kind=kind):
            code = None if code is None else well_formed(code)
            return replace(output, code=code, message=well_formed(message), kind=well_formed(kind))
        case _:
            return output


def well_formed_words(words: Words) -> Words:
    """Return what was heard with all its text well formed."""
    text, language = well_formed(words.text), well_formed(words.language)
    if not words.logprobs and not words.segments and text is words.text and language is words.language:
        return words
    logprobs = tuple(replace(each, token=well_formed(each.token)) for each in words.logprobs)
    segments = tuple(
        dataclasses.replace(each, text=well_formed(each.text), speaker=well_formed(each.speaker))
        for each in words.segments
    )
    return dataclasses.replace(words, text=text, language=language, logprobs=logprobs, segments=segments)
