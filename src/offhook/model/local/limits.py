"""The limits of the model workers, each with its reason."""

from __future__ import annotations

from typing import Final

FRAME_BYTES: Final = 16 * 1024 * 1024
"""One message to or from a worker: two minutes of 48 kHz sound. A longer one is garbage."""

FRAMES: Final = 64
"""Messages of a worker that wait to be read; it waits too when there are more."""

REPLY_BYTES: Final = 64 * 1024 * 1024
"""All results of one request together, kept until somebody reads them; an engine that runs away is stopped here."""

WAITING: Final = 64
"""Requests that wait for one pool: at 150 ms each this is ten seconds, more than anybody on a telephone waits for."""

WAIT_S: Final = 5.0
"""A request that no worker took up for so long is refused: its caller has heard a pause that needs an apology."""

TASK_S: Final = 30.0
"""A worker that says nothing about its request for so long hangs, and is killed. The slowest honest one took 4 s."""

SPEAKING_S: Final = 10.0
"""The same for a voice, of which a sentence takes 40 ms: nobody waits longer for the next word."""

START_S: Final = 60.0
"""Loading takes a second; a cold disk and a busy machine may take many."""

END_S: Final = 2.0
"""After its input has ended a worker is killed when it is not gone within this."""

RESTART_DELAYS_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Before the first, second, ... restart in a row: one crash costs nobody, a broken installation costs no core."""

STEADY_S: Final = 10.0
"""A worker that has lived so long was well: the next restart is the first in a row again."""

WAIT_WINDOW_S: Final = 5.0
"""How far the queue's wait looks back: long enough to be a figure, short enough to be about now."""

LAST_WORDS: Final = 20
"""Lines of a worker's standard error that are kept, to say why it died."""

LINE_BYTES: Final = 4096
"""The longest line of them; the rest of a longer one starts the next."""

EARLY_S: Final = 20.0
"""A longer turn is not guessed at: in every pause it would be transcribed from its beginning."""

EARLY_WAIT_MS: Final = 400.0
"""A guess gives way to whoever waits, and most are right, so they stop late: just before new calls are refused."""

NICENESS: Final = 5
"""A model may be late by milliseconds, the audio plane may not: the workers stand behind it for the processor."""
