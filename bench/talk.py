"""Callers who talk: what they say, and what their recording of every packet's arrival tells of the server."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import ONSET_MS, SILENCE_MS, scratch
from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.testing.voice import voice

UTTERANCE_MS = 2600
VOICES = 12
RX_SILENT, RX_LOUD, TX_FIRST, TX_LAST, ECHOED, MISSED = range(6)
RECORD = np.dtype(
    [
        ("at_ns", "<i8"),
        ("call", "<u4"),
        ("ts", "<u4"),
        ("seq", "<u2"),
        ("kind", "u1"),
        ("marker", "u1"),
        ("extra", "<u4"),
    ]
)
Records = npt.NDArray[Any]


@cache
def speech_file() -> Path:
    """What callers say: a count, frames each, then mu-law. Sound from the first sample to the last."""
    path = scratch() / "speech.ulaw"
    said = b"".join(g711.encode(voice(UTTERANCE_MS, seed=seed), Codec.PCMU) for seed in range(VOICES))
    path.write_bytes(struct.pack("<II", VOICES, UTTERANCE_MS // 20) + said)
    return path


@dataclass(slots=True)
class Heard:
    """What callers heard. Times in milliseconds.

    ``turns``: first packet of an answer, from the end of the configured silence (caller's last packet + silence).
    ``barges``: last packet of the agent, from the end of the configured onset (caller's first packet + onset);
    ``quiet`` the same for the first packet without sound after it. ``gaps``: between packets of one call.
    """

    turns: list[float]
    barges: list[float]
    quiet: list[float]
    missed_turns: int
    missed_barges: int
    gaps: npt.NDArray[np.float64]
    jitter_ms: float
    lost: int
    packets: int


def percentile(values: Any, share: float) -> float:
    """A percentile; not a number when there is nothing."""
    return float(np.percentile(values, share)) if len(values) else float("nan")


def evaluate(path: Path, *, after_s: float = 0.0, first: int = 0, last: int = 1 << 31) -> Heard:
    """Read a recording, from so many seconds after its first packet, of the calls in a range of numbers."""
    records: Records = np.fromfile(path, RECORD)
    if len(records):
        records = records[records["at_ns"] >= records["at_ns"][0] + int(after_s * 1e9)]
    records = records[(records["call"] >= first) & (records["call"] < last)]
    heard = Heard([], [], [], 0, 0, np.zeros(0), 0.0, 0, 0)
    gaps: list[npt.NDArray[np.float64]] = []
    jitters: list[float] = []
    order = np.argsort(records["call"], kind="stable")
    records = records[order]
    edges = np.flatnonzero(np.diff(records["call"])) + 1
    for one in np.split(records, edges):
        if not len(one):
            continue
        received = one[(one["kind"] == RX_LOUD) | (one["kind"] == RX_SILENT)]
        received = received[np.argsort(received["at_ns"], kind="stable")]
        _turns(one, received, heard)
        if len(received) < 2:
            continue
        at_ms = received["at_ns"] / 1e6
        gaps.append(np.diff(at_ms))
        numbers = np.unwrap(received["seq"].astype(np.int64), period=65536)
        heard.lost += int(numbers.max() - numbers.min() + 1 - len(np.unique(numbers)))
        heard.packets += len(received)
        jitters.append(_jitter_ms(at_ms, received["ts"]))
    heard.gaps = np.concatenate(gaps) if gaps else np.zeros(0)
    heard.jitter_ms = percentile(jitters, 99)
    return heard


def _jitter_ms(at_ms: npt.NDArray[np.float64], stamps: npt.NDArray[Any]) -> float:
    """The estimate of RFC 3550 section 6.4.1 at the end of the call."""
    ticks = np.unwrap(stamps.astype(np.int64), period=1 << 32)
    change = np.abs(np.diff(at_ms - ticks / 8))
    jitter = 0.0
    for step in change.tolist():
        jitter += (step - jitter) / 16
    return jitter


def _turns(one: Records, received: Records, heard: Heard) -> None:
    """Find every turn and every barge-in of one call."""
    loud = received[received["kind"] == RX_LOUD]["at_ns"]
    silent = received[received["kind"] == RX_SILENT]["at_ns"]
    starts = one[one["kind"] == TX_FIRST]["at_ns"]
    ends = one[one["kind"] == TX_LAST]["at_ns"]
    heard.missed_turns += int((one["kind"] == MISSED).sum())
    for end in ends.tolist():
        begun = loud[np.searchsorted(loud, end) :]
        following = starts[np.searchsorted(starts, end) :]
        if not len(begun) or (len(following) and begun[0] > following[0]):
            continue  # Not answered before the caller spoke again (that is counted), or the recording ended.
        heard.turns.append((int(begun[0]) - end) / 1e6 - SILENCE_MS)
    for start in starts.tolist():
        before = loud[np.searchsorted(loud, start) - 1] if np.searchsorted(loud, start) else 0
        if start - before > 60e6:
            continue  # The agent was silent: nobody to interrupt.
        end = ends[np.searchsorted(ends, start) :]
        if not len(end):
            continue
        until = loud[: np.searchsorted(loud, int(end[0]))]
        stopped = int(until[-1])
        if int(end[0]) - stopped < 500e6:
            heard.missed_barges += 1
            continue
        heard.barges.append((stopped - start) / 1e6 - ONSET_MS)
        quiet = silent[np.searchsorted(silent, stopped) :]
        if len(quiet):
            heard.quiet.append((int(quiet[0]) - start) / 1e6 - ONSET_MS)
