"""offhook whose scripted model speaks at the pace of speech; for ``sockets.py`` only.

Each answer is four seconds of a tone, in pieces of 100 ms on absolute deadlines. The words of an answer are the time at
which its first piece was due, so that a client on the same machine knows how late every piece is.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from offhook.cli import main

PIECE_MS = 100
PIECES = 40
RATE_HZ = 24000


def pace() -> None:
    """Replace the scripted model's answers."""
    from offhook.audio.pcm import to_bytes
    from offhook.audio.tone import tone
    from offhook.model.interface import ModelOutput
    from offhook.model.scripted import ScriptedBackend
    from offhook.session.inputs import AudioProduced, GenerationFinished, TextProduced
    from offhook.session.outputs import Generate

    piece = to_bytes(tone(1, PIECE_MS, RATE_HZ))

    async def respond(_: ScriptedBackend, request: Generate) -> AsyncIterator[ModelOutput]:
        due = time.monotonic()
        yield TextProduced(request.run, repr(due))
        for _number in range(PIECES):
            await asyncio.sleep(max(due - time.monotonic(), 0))
            yield AudioProduced(request.run, piece, RATE_HZ, float(PIECE_MS))
            due += PIECE_MS / 1000
        yield GenerationFinished(request.run)

    ScriptedBackend.respond = respond  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    from offhook.media.blas import one_thread

    one_thread()
    pace()
    sys.exit(main())
