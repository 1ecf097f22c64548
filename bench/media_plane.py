"""The media plane under load: CPU, lateness, spacing, memory, barge-in and turn times.

    python bench/media_plane.py [--calls 1 10 50 100] [--seconds 20] [--voice FOLDER]

Two processes: the plane on one core, the load generator on another. Each call sends 20 ms frames of speech and silence
over loopback and gets 20 ms frames back; the plane has voice detection on for all of them, and a responder that answers
each turn with six seconds of sound at 24 kHz and stops when the caller speaks (models with zero latency).

The generator prints its own lateness: a row counts only when its p99 is under 10 ms. The floor is a loop that only
receives, remembers and sends as many datagrams, in the same run on the same core. With --voice the callers speak the
WAV files of that folder (8 kHz), otherwise a synthetic voice.
"""

# ruff: noqa: E402 - numpy is imported after its threads are limited

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import random
import secrets
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from offhook.media.blas import one_thread

one_thread()

import numpy as np

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.level import levels_dbfs
from offhook.audio.turn import TurnOptions
from offhook.audio.wav import read_wav
from offhook.rtp.packet import voice_packet

FIRST_PORT = 24_000
GENERATOR_PORT = 26_000  # Below the ephemeral ports of Linux.
TURNS = TurnOptions(silence_duration_ms=500)
ANSWER_MS = 6000
FLOOR_S = 5.0


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of them lie; not a number for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def resident_mb() -> float:
    """Private memory of this process, in MB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return float("nan")


# -- the load generator -----------------------------------------------------------------------------------------------


def speeches(folder: str | None, count: int) -> list[np.ndarray]:
    """What callers say: clips of 1.5 to 4 s, cut to where their energy begins and ends."""
    clips = []
    if folder:
        files = sorted(Path(folder).rglob("*.wav"))
        random.Random(7).shuffle(files)
        for file in files:
            wav = read_wav(file.read_bytes())
            samples = wav.mono
            loud = np.flatnonzero(levels_dbfs(samples) > -45)
            if wav.rate_hz != 8000 or not len(loud):
                continue
            clip = samples[loud[0] * 80 : (loud[-1] + 1) * 80]
            inner = np.flatnonzero(levels_dbfs(clip) > -45)
            if 12_000 <= len(clip) <= 32_000 and np.diff(inner).max() < 25:  # No pause inside, so one turn each.
                clips.append(clip)
            if len(clips) == count:
                break
    else:
        from offhook.testing.voice import voice

        clips = [voice(2600, seed=seed) for seed in range(4)]
    return clips


def frames_of(clip: np.ndarray, noise: np.ndarray) -> list[bytes]:
    padded = np.concatenate([clip, np.zeros(-len(clip) % 160, np.int16)])
    padded = padded + noise[: len(padded)]
    return [g711.encode(padded[start : start + 160], Codec.PCMU) for start in range(0, len(padded), 160)]


class Caller:
    """Waits, speaks, hears the answer, breaks in after a second, and again."""

    def __init__(self, index: int, clips: list[list[bytes]], quiet: list[bytes], start_at: float) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", GENERATOR_PORT + index))
        self.target = ("127.0.0.1", FIRST_PORT + 2 * index)
        self.clips, self.quiet = clips, quiet
        self.random = random.Random(index)
        self.next_at = start_at + self.random.random() * 0.02
        self.sequence = self.random.getrandbits(15)
        self.timestamp = self.random.getrandbits(31)
        self.ssrc = index + 1
        self.saying: deque[bytes] = deque()
        self.clip = 0
        self.speak_at = self.next_at + 1.0 + self.random.random() * 2
        self.spoke_at = self.ended_at = 0.0
        self.hearing = False  # The answer is audible.
        self.waiting_answer = False
        self.waiting_stop = False
        self.last_at = 0.0
        self.quiet_frames = 0

    def tick(self, now: float) -> None:
        if not self.saying and now >= self.speak_at and not self.waiting_answer:
            self.clip = self.random.randrange(len(self.clips))
            self.saying.extend(self.clips[self.clip])
            self.spoke_at = self.next_at - 0.02  # A frame is sent when it is full.
            self.waiting_stop = self.hearing
            self.speak_at = float("inf")
        if self.saying:
            frame = self.saying.popleft()
            if not self.saying:
                self.ended_at = self.next_at
                self.waiting_answer = not self.hearing
                if self.hearing:  # Cut in two by a pause: it is being answered already.
                    self.speak_at = now + 1.0
        else:
            frame = self.quiet[self.sequence % len(self.quiet)]
        self.sequence += 1
        self.timestamp += 160
        self.socket.sendto(
            voice_packet(0, False, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc, frame), self.target
        )
        self.next_at += 0.02

    def receive(self, now: float, result: dict[str, Any], measuring: bool) -> None:
        try:
            data = self.socket.recv(2048)
        except BlockingIOError:
            return
        if len(data) < 100:
            return
        if measuring:
            result["received"] += 1
            if self.last_at:
                result["spacing_ms"].append((now - self.last_at) * 1000)
        self.last_at = now
        loud = data[12:].count(0xFF) < 40
        if loud:
            self.quiet_frames = 0
            if not self.hearing:
                self.hearing = True
                if self.waiting_answer:
                    self.waiting_answer = False
                    if measuring:
                        late = (now - self.ended_at) * 1000 - TURNS.silence_duration_ms
                        result["turn_ms"].append(late)
                    self.speak_at = now + 1.0 + self.random.random()
        else:
            self.quiet_frames += 1
            if self.hearing and self.quiet_frames >= 2:
                self.hearing = False
                if self.waiting_stop:
                    self.waiting_stop = False
                    if measuring:
                        # The first silent frame marks the stop: it came one frame ago.
                        late = (now - 0.02 - self.spoke_at) * 1000 - TURNS.onset_ms
                        result["barge_ms"].append(late)


def generate(calls: int, seconds: float, core: int, folder: str | None, pipe: Any) -> None:
    """Run all callers in one thread, pinned to its own core."""
    os.sched_setaffinity(0, {core})
    random_noise = np.random.default_rng(1).normal(0, 10, 40_000).astype(np.int16)
    clips = [frames_of(clip, random_noise) for clip in speeches(folder, 40)]
    quiet = frames_of(np.zeros(16_000, np.int16), random_noise)
    pipe.recv()
    start = time.monotonic() + 0.3
    callers = [Caller(index, clips, quiet, start) for index in range(calls)]
    poller = select.epoll()
    by_descriptor = {}
    for caller in callers:
        poller.register(caller.socket.fileno(), select.EPOLLIN)
        by_descriptor[caller.socket.fileno()] = caller
    order = deque(sorted(callers, key=lambda caller: caller.next_at))
    result: dict[str, Any] = {"spacing_ms": [], "turn_ms": [], "barge_ms": [], "late_ms": [], "received": 0}
    warm = start + 3.0
    end = warm + seconds
    while (now := time.monotonic()) < end:
        while order[0].next_at <= now:
            caller = order.popleft()
            if now > warm:
                result["late_ms"].append((now - caller.next_at) * 1000)
            caller.tick(now)
            order.append(caller)
        # Once a millisecond: a generator that spins would take its share of the core that the plane is measured on,
        # where two processors are the threads of one core.
        time.sleep(0.001)
        for descriptor, _ in poller.poll(0):
            by_descriptor[descriptor].receive(time.monotonic(), result, now > warm)
    result["seconds"] = end - warm
    pipe.send(result)


# -- the plane --------------------------------------------------------------------------------------------------------


class Responder:
    """Stands in for sessions and models: answers every turn at once, stops at every start."""

    def __init__(self) -> None:
        self.plane: Any = None
        self.runs: dict[str, int] = {}
        wave = np.sin(2 * np.pi * 700 * np.arange(ANSWER_MS * 24) / 24000)
        self.answer = np.rint(9000 * wave).astype(np.int16)
        self.turns = 0

    def __call__(self, edges: list[Any]) -> None:
        from offhook.media.edge import SpeechStarted, SpeechStopped

        for edge in edges:
            if isinstance(edge, SpeechStarted):
                self.plane.stop_playout(edge.leg)
            elif isinstance(edge, SpeechStopped):
                self.turns += 1
                run = self.runs[edge.leg] = self.runs.get(edge.leg, -1) + 1
                for start in range(0, len(self.answer), 24000 // 5):
                    self.plane.play(edge.leg, run, self.answer[start : start + 24000 // 5], 24000)
                self.plane.finish_run(edge.leg, run)


def serve(calls: int, core: int, vad: bool, pipe: Any) -> None:
    """Run the plane with its calls, pinned to its core, and report what it cost."""
    os.sched_setaffinity(0, {core})
    from offhook.media.command import LegOptions, Negotiated
    from offhook.media.plane import MediaPlane
    from offhook.media.thread import MediaThread
    from offhook.media.vad import load_silero
    from offhook.net.rtp import PortRange, SocketPoller

    began = time.perf_counter()
    responder = Responder()
    plane = MediaPlane(
        responder, detector=load_silero() if vad else None, pollers=SocketPoller, randbits=secrets.randbits
    )
    responder.plane = plane
    thread = MediaThread(plane)
    thread.start()
    ready_ms = (time.perf_counter() - began) * 1000
    ports = PortRange("127.0.0.1", FIRST_PORT, FIRST_PORT + 2 * calls - 1)
    base_mb = resident_mb()
    for index in range(calls):
        plane.open_leg(
            f"leg{index}",
            ports.open(0.0),
            Negotiated(("127.0.0.1", GENERATOR_PORT + index), telephone_event_type=None),
            LegOptions(turns=TURNS),
        )
    pipe.send("ready")
    pipe.recv()
    time.sleep(3.3)
    cpu, wall, turns = time.process_time(), time.monotonic(), responder.turns
    start_mb = resident_mb()
    before = plane.load()
    pipe.recv()  # The generator is done.
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    after = plane.load()
    judged = after.vad_judged - before.vad_judged
    skipped = after.vad_skipped - before.vad_skipped
    result = {
        "cpu": cpu / wall,
        "base_mb": base_mb,
        "start_mb": start_mb,
        "end_mb": resident_mb(),
        "step_late_p99_ms": after.late_p99_ms,
        "step_late_max_ms": after.late_max_ms,
        "busy": after.busy,
        "vad_share": judged / max(judged + skipped, 1),
        "turns": responder.turns - turns,
        "skipped_frames": after.skipped_frames,
        "ready_ms": ready_ms,
        "lost": sum(plane.stats(f"leg{index}").lost for index in range(calls)),
    }
    thread.stop()
    pipe.send(result)


def floor(calls: int, core: int, pipe: Any) -> None:
    """Receive and send as many datagrams with nothing in between: what no plane in Python can beat."""
    os.sched_setaffinity(0, {core})
    sockets = []
    poller = select.epoll()
    for index in range(calls):
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.setblocking(False)
        port.bind(("127.0.0.1", FIRST_PORT + 2 * index))
        poller.register(port.fileno(), select.EPOLLIN)
        sockets.append(port)
    by_descriptor = {port.fileno(): port for port in sockets}
    pipe.send("ready")
    pipe.recv()
    time.sleep(1.0)
    packet = bytes(172)
    cpu, wall = time.process_time(), time.monotonic()
    due = wall
    step = 0
    while due < wall + FLOOR_S:
        for descriptor, _ in poller.poll(0):
            by_descriptor[descriptor].recvfrom(2048)
        for index in range(step % 4, calls, 4):
            sockets[index].sendto(packet, ("127.0.0.1", GENERATOR_PORT + index))
        step += 1
        due += 0.005
        time.sleep(max(due - time.monotonic(), 0))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    pipe.send(cpu / wall)


def answer(pipe: Any, *processes: Any) -> Any:
    """Wait for a word from a process, or give up when one of them has died."""
    while not pipe.poll(0.5):
        if any(process.exitcode for process in processes):
            for process in processes:
                process.terminate()
            raise SystemExit("a process of the bench died; its error is above")
    return pipe.recv()


def run_floor(calls: int, cores: tuple[int, int], folder: str | None) -> float:
    ours, theirs = mp.Pipe()
    load_ours, load_theirs = mp.Pipe()
    server = mp.Process(target=floor, args=(calls, cores[0], theirs))
    load = mp.Process(target=generate, args=(calls, FLOOR_S - 1.0, cores[1], folder, load_theirs))
    load.start()
    server.start()
    answer(ours, server, load)
    load_ours.send("go")
    ours.send("go")
    share = float(answer(ours, server, load))
    answer(load_ours, server, load)
    server.join()
    load.join()
    return share


def run_plane(calls: int, seconds: float, cores: tuple[int, int], folder: str | None, vad: bool) -> dict[str, Any]:
    ours, theirs = mp.Pipe()
    load_ours, load_theirs = mp.Pipe()
    server = mp.Process(target=serve, args=(calls, cores[0], vad, theirs))
    load = mp.Process(target=generate, args=(calls, seconds, cores[1], folder, load_theirs))
    load.start()
    server.start()
    answer(ours, server, load)
    load_ours.send("go")
    ours.send("go")
    heard = answer(load_ours, server, load)
    ours.send("done")
    result: dict[str, Any] = answer(ours, server, load)
    server.join()
    load.join()
    gaps = heard["spacing_ms"]
    result |= {
        "gap_p99_ms": percentile(gaps, 0.99),
        "gap_max_ms": max(gaps, default=float("nan")),
        "gen_late_p99_ms": percentile(heard["late_ms"], 0.99),
        "turn_ms": heard["turn_ms"],
        "barge_ms": heard["barge_ms"],
        "missing": calls * heard["seconds"] * 50 - heard["received"],
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 10, 50, 100])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--voice", help="a folder with WAV files of speech")
    parser.add_argument("--no-vad", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    mp.set_start_method("spawn")
    cores = sorted(os.sched_getaffinity(0))
    pair = (cores[0], cores[-1])
    rows = []
    for calls in arguments.calls:
        base = run_floor(calls, pair, arguments.voice)
        row = run_plane(calls, arguments.seconds, pair, arguments.voice, not arguments.no_vad)
        row |= {"calls": calls, "floor": base}
        rows.append(row)
        if not arguments.json:
            print_row(row, header=len(rows) == 1)
    if arguments.json:
        print(json.dumps(rows))


def print_row(row: dict[str, Any], *, header: bool) -> None:
    if header:
        print(
            "calls  CPU%/call  floor  ratio | gap p99/max ms  missing | step late p99/max ms | turn p50/p99 ms (n)"
            "      | barge p50/p99 ms (n)    | MB base, /call | vad asked | gen late p99"
        )
    calls = row["calls"]
    per_call, floor_per_call = 100 * row["cpu"] / calls, 100 * row["floor"] / calls
    memory = (row["end_mb"] - row["base_mb"]) / calls
    turn, barge = row["turn_ms"], row["barge_ms"]
    print(
        f"{calls:5d}  {per_call:9.3f}  {floor_per_call:5.3f}  {per_call / floor_per_call:5.1f} |"
        f" {row['gap_p99_ms']:6.1f} / {row['gap_max_ms']:5.1f}  {row['missing']:7.0f} |"
        f" {row['step_late_p99_ms']:8.1f} / {row['step_late_max_ms']:6.1f}   |"
        f" {percentile(turn, 0.5):6.0f} / {percentile(turn, 0.99):4.0f} ({len(turn):4d}) |"
        f" {percentile(barge, 0.5):6.0f} / {percentile(barge, 0.99):4.0f} ({len(barge):4d}) |"
        f" {row['base_mb']:5.0f}, {memory:5.2f} | {100 * row['vad_share']:6.0f} % | {row['gen_late_p99_ms']:6.1f}"
    )


if __name__ == "__main__":
    main()
