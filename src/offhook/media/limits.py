"""The limits of the media plane, each with its reason."""

from __future__ import annotations

from typing import Final

from offhook.rtp.jitter import START_DEPTH

RATE_HZ: Final = 8000
"""The rate of every leg's time line: one sample, one byte of G.711, one tick of the RTP clock."""

TICKS_PER_MS: Final = RATE_HZ // 1000

FRAME_MS: Final = 20
FRAME_TICKS: Final = FRAME_MS * TICKS_PER_MS
"""What is sent in one packet: the default of RFC 3551 section 4.2, which every peer accepts."""

GROUPS: Final = 4
"""The legs tick in four groups 5 ms apart: neither the network nor the interpreter lock sees them all at once."""

STEP_S: Final = FRAME_MS / 1000 / GROUPS
"""How often sockets are read and commands obeyed."""

VAD_STEPS: Final = 2
"""The voice detector runs every so many steps (10 ms): rarer adds delay, oftener makes smaller and dearer batches."""

VAD_ROUNDS: Final = 4
"""Windows of one leg judged in one run, at most: a backlog is worked off over several runs and cannot stall a tick."""

LEGS: Final = 2000
"""Legs on one plane: beyond what one core can carry, so that only a runaway meets it."""

COMMANDS: Final = 20_000
"""Commands that wait for the next step; a step takes them all, so only a dead thread lets it fill."""

PLAYOUT_MS: Final = 600_000
"""Sound queued for one leg: ten minutes, longer than any one answer; newest is refused beyond it."""

RUNS: Final = 64
"""Runs queued for one leg; the server generates one at a time."""

INPUT_S: Final = 120
"""Input sound kept for one leg: longer than a turn that a recogniser takes; the oldest is dropped beyond it."""

BETWEEN_TURNS_S: Final = 15
"""Input sound kept while nobody speaks and turns are detected, beside a last turn that is not older than this."""

RECORDING_S: Final = 3600
"""Longest recording of one leg; it ends there."""

DIGITS: Final = 64
"""Keys waiting to be pressed on one leg: longer than any extension or card number."""

CONVERSION_MS: Final = 200
"""How much sound is converted ahead for a leg in one go: little enough to fit into a tick beside the other legs."""

CATCH_UP_FRAMES: Final = 5
"""After a stall this many frames are sent late, in a burst that a jitter buffer takes; older ones are skipped."""

JITTER_MS: Final = START_DEPTH // TICKS_PER_MS
"""How deep a jitter buffer starts: two frames, so that two packets which changed places are put back."""

DRAIN_PASSES: Final = 8
"""Datagrams read from one port in the time of a step: forty times the rate of a call, so a flood holds nobody up."""

FLUSHED_PACKETS: Final = 1000
"""Datagrams thrown away when a leg is opened; more than a socket's buffer holds."""

STALL_S: Final = 2.0
"""If the whole process stood still for longer, the calls' clocks stood still with it; nothing is made up for it."""

ATTEND_S: Final = 0.2
"""How often a leg is looked after: time-outs, clocks, reports. None of it is nearer to its time than this."""

MEDIA_TIMEOUT_S: Final = 30.0
"""Without any packet for so long, a report included, the caller is taken to be gone."""

RTCP_INTERVAL_S: Final = 5.0
"""The least interval of RFC 3550 section 6.2; it is varied by half to either side (section 6.3.1)."""

LOAD_STEPS: Final = 1000
"""Steps that lateness looks back on: five seconds, so that a 99th percentile is ten of them."""

BUSY_STEPS: Final = 200
"""Steps that the shares of time look back on: one second, in which the number of legs hardly changed."""
