"""What the client holds and waits for at most, with the reasons."""

from __future__ import annotations

from typing import Final

# The contract's figures: what clients of this API wait and repeat by default.
TIMEOUT_S: Final = 600.0
CONNECT_TIMEOUT_S: Final = 5.0
# A host's next address is tried after this time, beside those that have not answered (RFC 8305 5 and 8).
NEXT_ADDRESS_S: Final = 0.25
MAX_RETRIES: Final = 2
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0
# A pause that a server asks for is kept up to here; one that is longer is taken for a mistake.
LONGEST_ASKED_PAUSE_S: Final = 120.0
# The part of a pause that chance may take off, so that clients that failed together do not come back together.
JITTER: Final = 0.25
# Redirects within one origin (a moved prefix) come in ones; more are a loop.
MAX_REDIRECTS: Final = 5

# One call takes one connection for some milliseconds; a thousand in flight are more than a node holds calls.
MAX_CONNECTIONS: Final = 1_000
# Less than servers wait for a next request (60 s and more), so that a connection is not taken up as it is closed.
IDLE_S: Final = 55.0
# Status line and headers of an answer; servers of this API send under 1 KB.
MAX_HEAD_BYTES: Final = 64 * 1024
# The largest answers of these routes are sessions with their tools, under 2 MB.
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
# What a streamed answer holds of a body that nobody reads, before its connection is read no more.
MAX_UNREAD_BYTES: Final = 256 * 1024
# One read of a socket: answers have some hundred bytes, and connections of AsyncClient without TLS hold such a buffer.
READ_BYTES: Final = 16 * 1024

# The largest event is a retrieved item with its audio: an append of 15 MiB is 20 MiB of base64.
MAX_EVENT_BYTES: Final = 32 * 1024 * 1024
# Events that wait for the application. Pings are answered behind them, so a server that sends 50 a second is let
# down only after 20 s without a reader.
MAX_UNREAD_EVENTS: Final = 1_000
OPEN_TIMEOUT_S: Final = 10.0
# Texts of a server that go into an exception.
MAX_SHOWN_CHARS: Final = 500
# The contract's tolerance of a webhook's time stamp, both ways.
WEBHOOK_TOLERANCE_S: Final = 300
