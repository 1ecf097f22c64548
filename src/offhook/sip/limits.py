"""Every size limit of the SIP machines, with its reason."""

from __future__ import annotations

MAX_HEADER_BYTES = 64 * 1024
"""Start line and headers together. A UDP datagram cannot hold more; a stream peer that sends more is not a SIP peer."""

MAX_HEADER_LINES = 128
"""Header lines of one message. The longest request seen from a trunk has 60; RFC 4475's longreq has 44."""

MAX_BODY_BYTES = 128 * 1024
"""Body of one message on a stream, twice the largest session description; every connection may leave one unfinished."""

MAX_CSEQ = 2**31 - 1
"""RFC 3261 8.1.1.5: the sequence number must be less than 2**31."""

MAX_LIST_VALUES = 128
"""Comma-separated values taken from one header: Record-Route, Via and Require never come near it."""

MAX_ROUTES = 32
"""Hops in a route set. Max-Forwards starts at 70, and every hop costs a line in every request we send."""

MAX_MULTIPART_PARTS = 16
"""Parts looked at in a multipart body to find the session description (SIP-I trunks send two)."""

MAX_FORKS = 16
"""Answered branches of one outgoing INVITE that are acknowledged; a proxy that forks wider than this is broken."""

MAX_UNACKNOWLEDGED = 4
"""2xx responses of one dialog whose ACK is outstanding at a time; more re-INVITEs than that get 500 (RFC 3261 14.2)."""

MAX_REFERS = 4
"""Transfers followed at a time on one leg. A second is normal after a failed first; more is a fault of the host."""

MAX_GLARE_RETRIES = 6
"""491 answers to one re-INVITE before the host is told (RFC 3261 14.1 sets no number; 6 are about 12 s)."""

MAX_SOURCES = 4096
"""Source addresses remembered by the guard. When full the oldest is forgotten, which only refills its bucket."""

MAX_DROPS_TOLD_PER_MINUTE = 10
"""Sources of dropped messages told to the host a minute, each once: forged addresses must not fill a log."""

PROVISIONAL_REPEAT_S = 60.0
"""RFC 3261 13.3.1.1: a callee that rings for long repeats its provisional response every minute."""

UDP_REQUEST_LIMIT_BYTES = 1300
"""RFC 3261 18.1.1: larger requests belong on a congestion-controlled transport when the path MTU is unknown."""

MAX_KNOWN_AGENTS = 256
"""User-Agent values whose judgement is remembered; the trunks of one site send a handful. Others are judged again."""

MAX_SDP_BYTES = 64 * 1024
"""A session description; the largest from a browser is 20 KB."""

MAX_SDP_LINES = 2048
"""Lines of a session description; browsers with many codecs send about 300."""

MAX_SDP_MEDIA = 32
"""m-lines answered; each costs a line in our answer."""

MAX_SIPFRAG_BYTES = 4096
"""A sipfrag body (RFC 3420) of a transfer report; only its status line is read."""
