"""S2 and S15: how many conversations one core holds, and what happens to those beyond.

    python bench/capacity.py [--steps 100,150,200,250] [--seconds 20]     # S2
    python bench/capacity.py --overload [--offered 2.0]                   # S15

S2 goes up the steps until the server takes 70 % of its core or the answers' p99 is 100 ms above the floor's; the figure
is the last step that held. S15 offers twice as many calls as S2 found to a server that has to find its limit itself:
the rest is refused with 503 and Retry-After before any media, and those that were admitted keep their figures. Then the
same with a server whose every call costs twice as much (``dear_server.py``): the limit it finds is about half.
"""

from __future__ import annotations

import argparse
import sys
import time

from harness import BENCH, ONSET_MS, Caller, Server, Table, scratch
from talk import Heard, evaluate, percentile, speech_file
from voice import talk

FLOOR_TURN_P99_MS = 33.0
MOST_CORE = 70.0
FLAGS = ("--vad-onset-ms", str(ONSET_MS))
DEAR = (str(BENCH / "dear_server.py"),)


def capacity(steps: list[int], seconds: float, entry: tuple[str, ...] = ("-m", "offhook")) -> tuple[int, list[str]]:
    """Return the largest step that held, and a line for each."""
    best, lines = 0, []
    for calls in steps:
        # A server of its own for every step: it has to find its limit from the start each time.
        with Server(*FLAGS, entry=entry) as server:
            warm_up(server, calls)
            run = talk(server, calls, seconds)
        p99 = percentile(run.heard.turns, 99)
        held = run.cpu_core <= MOST_CORE and p99 <= FLOOR_TURN_P99_MS + 100 and not run.refused
        lines.append(
            f"{calls} calls: {run.cpu_core:.0f} % of the core, {run.cpu_share:.2f} % a call, turn p99 {p99:.0f} ms, "
            f"stop p99 {percentile(run.heard.barges, 99):.0f} ms, spacing p99 {percentile(run.heard.gaps, 99):.1f} ms, "
            f"refused {run.refused}, generator late {run.late_ms:.1f} ms: {'held' if held else 'did not hold'}"
        )
        print(lines[-1], file=sys.stderr)
        if not held:
            break
        best = calls
    return best, lines


def warm_up(server: Server, calls: int) -> None:
    """Let the server learn what its calls cost, so that its first guess does not refuse what it could hold."""
    talk(server, min(calls, 100), 8)


def overload(calls: int, seconds: float, entry: tuple[str, ...] = ("-m", "offhook")) -> tuple[dict[str, float], Heard]:
    """Offer so many calls, coming in over some seconds and staying; refused ones are not tried again."""
    dump = scratch() / "overload.bin"
    with Server(*FLAGS, entry=entry) as server:
        caller = Caller(
            server.sip_port, calls=calls, parallel=calls, hold=seconds + calls / 20, rate=20, talk=speech_file(),
            dump=dump, start_gap=2.5,
        )  # fmt: skip
        time.sleep(calls / 20 + 5)
        began, cpu_s = time.monotonic(), server.cpu_s()
        time.sleep(max(seconds - 8, 5))
        core = (server.cpu_s() - cpu_s) / (time.monotonic() - began) * 100
        health = server.health()
        result = caller.result()
    heard = evaluate(dump, after_s=calls / 20)
    dump.unlink()
    figures = {
        "offered": calls,
        "admitted": result["answered"],
        "refused": result["refused"],
        "failed": result["failed"],
        "503": result["statuses"].get("503", 0),
        "retry_after": result["retry_after"],
        "with_sdp": result["refused_with_sdp"],
        "core": core,
        "limit": health["calls"]["limit"],
        "late_ms": result["late_p99_ms"],
    }
    print(figures, health["calls"], health["media"], file=sys.stderr)
    return figures, heard


def show_overload(table: Table, name: str, figures: dict[str, float], heard: Heard) -> None:
    """Add the rows of one overload."""
    table.check({"late_p99_ms": figures["late_ms"]})
    beside = f"of {figures['offered']}, at {figures['core']:.0f} % of the core"
    table.add(f"{name}: calls admitted", figures["admitted"], 1, most=False, beside=beside)
    table.add(f"{name}: not refused by 503 + Retry-After", figures["refused"] - figures["retry_after"], 0)
    table.add(f"{name}: refused with a session description", figures["with_sdp"], 0)
    table.add(f"{name}: calls that broke", figures["failed"], 0)
    table.add(f"{name}: answer p50", percentile(heard.turns, 50), 35, "ms", beside=f"{len(heard.turns)} turns")
    table.add(f"{name}: answer p99", percentile(heard.turns, 99), 90, "ms")
    table.add(f"{name}: stop p50", percentile(heard.barges, 50), 15, "ms")
    table.add(f"{name}: stop p99", percentile(heard.barges, 99), 45, "ms")
    table.add(f"{name}: spacing p99", percentile(heard.gaps, 99), 25, "ms")
    table.add(f"{name}: packets lost", heard.lost, 0, beside=f"of {heard.packets:,}")


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="100,150,200", help="calls of each step")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--overload", action="store_true", help="offer more than the server can hold")
    parser.add_argument("--offered", type=int, default=300, help="calls offered; twice what S2 found")
    args = parser.parse_args()
    if args.overload:
        table = Table(f"S15: {args.offered} calls offered to one core")
        plain, heard = overload(args.offered, args.seconds + 10)
        show_overload(table, "overload", plain, heard)
        dear, _ = overload(args.offered, args.seconds + 10, DEAR)
        ratio = dear["admitted"] / max(plain["admitted"], 1)
        table.add(
            "limit when a call costs twice as much", dear["admitted"], None, beside=f"{ratio:.2f} of the plain one"
        )
        table.add("   that ratio", ratio, 0.65)
        return table.show()
    table = Table("S2: conversations on one core")
    steps = [int(step) for step in args.steps.split(",")]
    best, lines = capacity(steps, args.seconds)
    table.add("S2 calls on a core at 70 %", best, 150, most=False)
    status = table.show()
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
