"""Every bound on what a remote party may make this process hold or do, with its reason."""

from __future__ import annotations

from typing import Final

# The API documents 1 to 4096 and "inf".
MAX_OUTPUT_TOKENS: Final = 4096
# A session of 64 function tools with long schemas stays under 1 MB; an accept body needs no more.
MAX_CALL_BODY_BYTES: Final = 2 * 1024 * 1024
# The API documents appends of up to 15 MiB of audio, which is 20 MiB of base64.
MAX_CLIENT_EVENT_BYTES: Final = 21 * 1024 * 1024
# The API documents 512 characters for a client's event_id.
MAX_EVENT_ID_CHARS: Final = 512
# Ids of items that clients choose: the service's own have 26 characters.
MAX_ITEM_ID_CHARS: Final = 64
# The API documents 16 pairs, keys of 64 and values of 512 characters.
MAX_METADATA_PAIRS: Final = 16
MAX_METADATA_KEY_CHARS: Final = 64
MAX_METADATA_VALUE_CHARS: Final = 512
# The API documents 5 to 30 s.
MIN_IDLE_TIMEOUT_MS: Final = 5_000
MAX_IDLE_TIMEOUT_MS: Final = 30_000
# Longer silences than a minute would never end a turn on a telephone.
MAX_SILENCE_MS: Final = 60_000
# The API documents 0.25 to 1.5.
MIN_SPEED: Final = 0.25
MAX_SPEED: Final = 1.5
# A sentence is spoken in one piece, and nothing is heard before it is made.
MAX_SENTENCE_CHARS: Final = 1000
# Under 200 ms every answer would be taken for a late one; nobody bears a minute of silence.
MIN_WAITING_MS: Final = 200
MAX_WAITING_MS: Final = 60_000
# The tools of one session; every one of them is sent to the model with every turn.
MAX_TOOLS: Final = 128
MAX_NAME_CHARS: Final = 256
# Instructions travel with every request to a model. 1 MB is far beyond every model's context.
MAX_TEXT_CHARS: Final = 1024 * 1024
# Values of no fixed shape, such as a function's JSON Schema. Schemas of real tools are under 20 deep; what is nested
# far deeper can be read but not written back.
MAX_NESTING: Final = 64
# SIP URIs of real transfers are under 200 characters; REFER has to fit in a datagram.
MAX_TARGET_URI_CHARS: Final = 1024
# RFC 3261 final statuses that refuse a call.
MIN_REJECT_STATUS: Final = 300
MAX_REJECT_STATUS: Final = 699
DEFAULT_REJECT_STATUS: Final = 603
# A conversation of an hour has under 2,000 items; the cap keeps a runaway client from growing the process.
MAX_CONVERSATION_ITEMS: Final = 20_000
# Several sidebands per call are legal; a dozen is more than anyone runs.
MAX_SIDEBANDS_PER_CALL: Final = 16
# Events that a sideband has not read yet. At 50 events a second this is 20 s behind; then it loses its socket.
MAX_SIDEBAND_BACKLOG: Final = 1_000
# What clients may say before the call is answered: as much as an accept may carry. Nobody has a use for audio then.
MAX_EARLY_BYTES: Final = MAX_CALL_BODY_BYTES
# Inputs that wait for a call's task. A call makes under 100 a second.
MAX_CALL_INBOX: Final = 1_000
# The API documents 10 s to 2 h for a client secret, and 10 minutes when nothing is said.
MIN_SECRET_S: Final = 10
MAX_SECRET_S: Final = 7200
DEFAULT_SECRET_S: Final = 600
# The API documents one minute for the secrets of its older routes.
LEGACY_SECRET_S: Final = 60
# Client secrets that have not expired: one a second for their usual ten minutes, ten times over.
MAX_SECRETS: Final = 6_000
# And the sessions that they hold, which are as large as an accept may be; most have a few kilobytes.
MAX_SECRETS_BYTES: Final = 64 * 1024 * 1024
# The API documents 15 MiB of audio for one append.
MAX_APPEND_BYTES: Final = 15 * 1024 * 1024
# Stretches of input audio in different formats that are kept; nobody has a use for more than one change.
MAX_FORMAT_CHANGES: Final = 4
# Sessions on sockets of their own. At 0.2 % of a core each, twice as many as one core can serve.
MAX_SOCKET_SESSIONS: Final = 1_000
# Events that a session's own socket has not read yet: an answer of five minutes that was made at once, with its words.
MAX_SOCKET_BACKLOG: Final = 4_000
# And what those events hold, on either: eight minutes of answers in PCM. The largest event, a retrieved item with its
# audio, has 20 MiB.
MAX_BACKLOG_BYTES: Final = 32 * 1024 * 1024
# And what waits for all sockets of one project together: hundreds that are a second or two behind, as after a stall of
# the network, and eight that are as far behind as they may be. Who is furthest behind is closed first.
MAX_PROJECT_BACKLOG_BYTES: Final = 8 * MAX_BACKLOG_BYTES
# A client who has so much to read is not asked what else it wants, so that it cannot fill the rest by itself.
MAX_ASKING_BYTES: Final = 8 * 1024 * 1024
# Audio that was appended and not listened to yet; beyond it the socket is not read until it is.
MAX_UNHEARD_MS: Final = 1_000
# A longer append is a recording and not cleaned of noise: this much takes 30 ms, in which nobody else is served.
MAX_CLEANED_MS: Final = 5_000
