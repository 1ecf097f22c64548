"""How much a relayed conversation holds and waits, and why."""

from __future__ import annotations

from typing import Final

from offhook.wire.limits import MAX_CLIENT_EVENT_BYTES

STREAM_MS: Final = 400
"""How often the audio of a caller who speaks goes upstream: what is left at the end of a turn goes with its commit, so
that more messages would make no answer sooner. The silence that ends a turn is longer: the rest has no words in it."""

LISTEN_MS: Final = 100
"""How often all that is heard goes upstream where turns are found there: an interruption is late by half of it on the
average, and each message costs about what a detector saves in as long."""

STREAM_LAG_MS: Final = 60
"""Audio of the last moments stays here meanwhile: a turn may end a little before what was heard last."""

MAX_STREAM_MS: Final = 120_000
"""So much of a turn goes while it is spoken; a line keeps as much of it, which goes with its end."""

MAX_READ_MS: Final = 60_000
"""One piece of input at most; a turn that is longer goes in several."""

MAX_APPEND_BYTES: Final = 256 * 1024
"""Audio in one message: servers take between 256 KiB and 15 MiB in a frame, in base64."""

MAX_KEPT_AUDIO_BYTES: Final = 1024 * 1024
"""Turns whose words nobody knows yet, kept in case the connection breaks: two minutes of G.711. The oldest go first."""

MAX_SPARE_AUDIO_BYTES: Final = 512 * 1024
"""The part of it that upstream has already: without transcripts nothing else could tell it again what was said. A
minute of G.711, ten seconds of linear samples."""

MAX_GIVEN_UP: Final = 64
"""Turns that were deleted before their words came: more of them than any upstream transcribes at once."""

MAX_RUNS: Final = 64
"""Responses that are remembered, to tell which item upstream is which here; the oldest are forgotten."""

MAX_OUTPUT_ITEMS: Final = 128
"""Items of one response: as many as a session has tools. Further messages go on in the last one, calls are left out."""

MAX_MESSAGE_BYTES: Final = MAX_CLIENT_EVENT_BYTES + 1024 * 1024
"""One event from upstream: its audio deltas have some kilobytes, but an item that a client sent comes back whole, with
what upstream says around it. Whatever a conversation holds would come back on every new connection too."""

MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""What waits to be sent for longer than `MAX_UNSENT_S`: an upstream that reads so slowly is taken for lost."""

MAX_UNSENT_S: Final = 20.0
"""As long as an upstream may be silent: whoever hears what was said so long ago answers nobody."""

MAX_HISTORY_BYTES: Final = 64 * 1024 * 1024
"""What waits to be sent at all: a conversation goes to a new connection in one piece, with its pictures."""

MAX_TOKENS: Final = 10**9
"""What one response or transcript can have taken: figures beyond it, or below zero, are none."""

MAX_BAD_EVENTS: Final = 100
"""Events in a row that are none: whoever sends so many does not speak this protocol."""

MAX_ERRORS_TOLD: Final = 32
"""Errors of one session that are logged and told to the clients; whoever sends more only repeats itself."""

CANCEL_S: Final = 3.0
"""How long a response may take to end after it was cancelled, before the next one is asked for all the same."""

HAND_OVER_S: Final = 4.0
"""How long a response waits for a connection where another model stands in: a caller hears nothing meanwhile."""

HAND_OVER_ATTEMPTS: Final = 2
"""Failed attempts to connect in a row, after which it does not wait at all: the first loss is mostly a restart."""

BACKOFF_S: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The waits before attempts to connect; the first loss is mostly a restart, and a caller is waiting."""

PROVEN_S: Final = 10.0
"""A connection that was good for so long, or for an answer, is dialled again at once; one that only greets and closes,
as without credit, is no better than none."""

MAX_ITEM_ID_CHARS: Final = 32
"""The hosted service takes ids of items up to this length."""
