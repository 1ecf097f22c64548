"""What leads a transcript, for recognisers that take one text for it."""

from __future__ import annotations

from offhook.wire.session import TranscriptionEcho


def transcript_prompt(wanted: TranscriptionEcho | None) -> str:
    """Return the prompt with the keywords behind it; empty when there is neither."""
    if wanted is None:
        return ""
    return " ".join([*filter(None, [wanted.prompt]), ", ".join(wanted.keywords or ())]).strip()
