"""C1 to C7: the client beside the official package, round by round in one run.

    python bench/client.py [--rounds 3] [--calls 2000] [--events 20000] [--rows C1,C2,...]

Each figure comes from a fresh process on the callers' core; the server that answers them is on the other. The official
package's fastest back end (aiohttp) is fetched into a folder that is gone afterwards, where it can be had.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from harness import BENCH, LOAD_CORE, ROOT, SERVER_CORE, Process, Table, median, options, scratch

PEER, OURS = "openai", "offhook"
Figures = dict[str, dict[str, list[float]]]


def fetch_aiohttp() -> str | None:
    """A folder with the official package's other back end, None when it cannot be had."""
    folder = str(scratch() / "aiohttp")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "httpx-aiohttp", "aiohttp"]
    done = subprocess.run(command, capture_output=True, check=False)
    return None if done.returncode else folder


def run(row: str, kind: str, port: int, count: int, extra: str | None) -> dict[str, float]:
    """Take one figure."""
    paths = [str(ROOT / "src"), *([extra] if extra else []), os.environ.get("PYTHONPATH", "")]
    script = (
        ["client_start.py", kind, str(port)] if row == "C3" else ["client_load.py", row, kind, str(port), str(count)]
    )
    command = [sys.executable, str(BENCH / script[0]), *script[1:]]
    with Process(command, LOAD_CORE, {"PYTHONPATH": os.pathsep.join(paths)}) as process:
        line = process.line()
        if not line:
            sys.exit(f"{row} of {kind} failed")
        figures: dict[str, float] = json.loads(line)
        return figures


def needed(name: str, extras: tuple[str, ...] = ()) -> dict[str, Distribution]:
    """A distribution and all that it needs, as installed here."""
    found: dict[str, Distribution] = {}
    waiting = [(name, extras)]
    while waiting:
        each, wanted = waiting.pop()
        key = re.sub(r"[-_.]+", "-", each).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(each)
        except PackageNotFoundError:
            continue
        for line in found[key].requires or []:
            requirement, _, marker = line.partition(";")
            if "extra" in marker and not any(f"'{extra}'" in marker or f'"{extra}"' in marker for extra in wanted):
                continue
            if re.search(r"(python_version|python_full_version|sys_platform|platform_system) *[<=]", marker):
                continue
            bare = re.match(r"[A-Za-z0-9_.-]+", requirement)
            assert bare is not None
            waiting.append((bare[0], ()))
    return found


def size_mb(one: Distribution) -> float:
    """Its files, without compiled Python."""
    files = [Path(str(each.locate())) for each in one.files or [] if each.suffix != ".pyc"]
    return sum(each.stat().st_size for each in files if each.is_file()) / 1e6


def install_sizes() -> tuple[float, int, float, int]:
    """Megabytes and distributions: ours with its dependencies, and the official package with its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[A-Za-z0-9_.-]+", each)[0] for each in project["dependencies"]]  # type: ignore[index]
    source = [each for each in (ROOT / "src").rglob("*") if each.is_file() and each.suffix != ".pyc"]
    ours = {key: one for name in names for key, one in needed(name).items()}
    own_mb = sum(each.stat().st_size for each in source) / 1e6
    theirs = needed(PEER, ("realtime",))
    return own_mb + sum(map(size_mb, ours.values())), len(ours), sum(map(size_mb, theirs.values())), len(theirs)


def measure(rounds: int, calls: int, events: int, rows: list[str], aiohttp: str | None) -> dict[str, Figures]:
    """All figures, by row, kind and name."""
    seen: dict[str, Figures] = {}
    with Process([sys.executable, str(BENCH / "client_peer.py"), str(events)], SERVER_CORE) as peer:
        http, sockets = map(int, peer.line().split())
        counts = {"C1": calls, "C2": calls, "C3": 1, "C6": events, "C7": calls * 2}
        for _ in range(rounds):
            for row in rows:
                kinds = [PEER, OURS]
                if row == "C2":
                    kinds += ["offhook+uvloop", *(["openai+aiohttp"] if aiohttp else [])]
                for kind in kinds:
                    # The official package needs so long for 1,000 at once that a fifth of the calls says enough.
                    count = counts[row] if row != "C2" or kind.startswith(OURS) else counts[row] // 5
                    extra = aiohttp if kind.endswith("aiohttp") else None
                    figures = run(row, kind, sockets if row == "C6" else http, count, extra)
                    print(row, kind, {name: round(value, 1) for name, value in figures.items()}, file=sys.stderr)
                    for name, value in figures.items():
                        seen.setdefault(row, {}).setdefault(kind, {}).setdefault(name, []).append(value)
    return seen


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, rounds=3, calls=2000, events=20000, rows="C1,C2,C3,C6,C7")
    rows = [row for row in args.rows.split(",") if row]
    table = Table("C1 to C7: the client beside the official package")
    aiohttp = fetch_aiohttp() if "C2" in rows else None
    seen = measure(args.rounds, args.calls, args.events, rows, aiohttp)

    def beside(row: str, name: str, label: str, ratio: float | None, unit: str, most: float | None = None) -> None:
        # C3 and C4 are taken in the same process.
        place = seen["C3" if row == "C4" else row]
        ours, theirs = median(place[OURS][name]), median(place[PEER][name])
        table.add(f"{row} {label}", ours, most, unit, beside=f"openai {theirs:.4g}")
        table.add(f"{row} {label}, part of openai's", ours / theirs, ratio)

    if "C1" in rows:
        beside("C1", "cpu_us", "CPU of an accept", 0.15, "us", 120)
    if "C2" in rows:
        best = max(median(figures["per_s_100"]) for kind, figures in seen["C2"].items() if kind.startswith(PEER))
        for kind in (OURS, "offhook+uvloop"):
            hundred, thousand = (median(seen["C2"][kind][f"per_s_{width}"]) for width in (100, 1000))
            strict = kind == OURS
            table.add(f"C2 {kind}, 100 in flight", hundred, 10_000 if strict else None, "/s", most=False)
            table.add(
                f"C2 {kind}, times openai's best",
                hundred / best,
                8 if strict else None,
                most=False,
                beside=f"{best:.4g}/s",
            )
            table.add(f"C2 {kind}, 1,000 in flight, of that", thousand / hundred, 0.9 if strict else None, most=False)
    if "C3" in rows:
        beside("C3", "ms", "import, client, method", 0.15, "ms", 80)
        table.add("C3 modules that the first call imports", median(seen["C3"][OURS]["imported_later"]), 0)
        beside("C4", "rss_kb", "memory when ready", 0.45, "KB", 28_000)
        beside("C4", "called_kb", "memory after a call", None, "KB")
    if "C6" in rows:
        beside("C6", "cpu_us", "CPU of an event", 0.17, "us", 9)
        beside("C6", "sync_cpu_us", "CPU of an event, blocking", None, "us")
    if "C7" in rows:
        beside("C7", "cpu_us", "CPU of a webhook", 0.27, "us", 12)
    ours_mb, ours_count, theirs_mb, theirs_count = install_sizes()
    table.add("C5 installed", ours_mb, 13, "MB", beside=f"openai {theirs_mb:.3g} MB")
    table.add("C5 dependencies", ours_count, 3, beside=f"openai {theirs_count - 1}")
    table.add("C5 part of openai's", ours_mb / theirs_mb, 0.65)
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
