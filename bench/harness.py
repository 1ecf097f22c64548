"""What the benchmarks share: a server on one core, the load generator on the other, and honest tables."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
LOAD_CORE = CORES[-1]
# Above this the generator was not scheduled well enough for its latencies to mean anything.
LATE_MS = 10.0
# Silence and onset as in the voice test: what is measured is what the server adds to them.
SILENCE_MS = 200
ONSET_MS = 200
SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "audio": {
        "input": {
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "silence_duration_ms": SILENCE_MS,
                "create_response": True,
                "interrupt_response": True,
            }
        }
    },
}
SERVER_FLAGS = ("--http", "127.0.0.1:0", "--sip", "127.0.0.1:0", "--models", "scripted", "--log-level", "error")
RTP_PORTS = "10000-29999"


@functools.cache
def scratch() -> Path:
    """A folder that is gone when the benchmark ends."""
    folder = Path(tempfile.mkdtemp(prefix="offhook-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def built(source: str, *flags: str) -> Path:
    """Compile a C program of this folder, once."""
    program = scratch() / Path(source).stem
    if not program.exists():
        command = ["gcc", "-O2", "-o", str(program), str(BENCH / source), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"cannot compile {source} (apt-get install gcc libc6-dev):\n{done.stderr}")
    return program


def session_file(session: dict[str, Any] = SESSION) -> Path:
    """The session that ``--answer always`` accepts every call with."""
    path = scratch() / "session.json"
    path.write_text(json.dumps(session))
    return path


# -- processes


class Process:
    """A process that was started here, on one core or (None) on all of them; it is ended by its id."""

    def __init__(self, command: Sequence[str], core: int | None, env: dict[str, str] | None = None) -> None:
        cores = CORES if core is None else [core]
        # As installed: compiled modules are kept, whatever the caller's environment says.
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(scratch() / "pycache")}
        self.popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
            env=os.environ | compiled | (env or {}),
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - no threads run here
        )
        self.pid = self.popen.pid
        _running.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def line(self) -> str:
        """The next line that it prints."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline()

    def cpu_s(self) -> float:
        """Processor time of all its threads that run, in seconds."""
        total_ns = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total_ns += int((task / "schedstat").read_text().split()[0])
        return total_ns / 1e9

    def memory_kb(self, *, family: bool = False) -> dict[str, int]:
        """``Rss`` and ``Pss`` in KB, of the process or of all its `family`."""
        total = {"Rss": 0, "Pss": 0}
        for pid in self.family() if family else [self.pid]:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name = line.partition(":")[0]
                if name in total:
                    total[name] += int(line.split()[1])
        return total

    def family(self) -> list[int]:
        """The process and those that it has started, workers of models for example."""
        found = [self.pid]
        for parent in found:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        return found

    def stop(self, patience_s: float = 10.0) -> None:
        """SIGTERM, and once more if it takes its time."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(1.0)
            except subprocess.TimeoutExpired:
                self.popen.send_signal(signal.SIGTERM)
                try:
                    self.popen.wait(patience_s)
                except subprocess.TimeoutExpired:
                    self.popen.kill()
                    self.popen.wait()
        for pipe in (self.popen.stdout, self.popen.stdin):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        _running.discard(self)


_running: set[Process] = set()


@atexit.register
def _stop_all() -> None:
    for process in list(_running):
        process.stop()


class Server(Process):
    """offhook, ready to take calls. ``entry`` replaces ``-m offhook``; ``core`` None is all cores."""

    def __init__(
        self,
        *flags: str,
        answer: str = "",
        entry: Sequence[str] = ("-m", "offhook"),
        core: int | None = SERVER_CORE,
    ) -> None:
        answer = answer or f"always:{session_file()}"
        command = [sys.executable, *entry, "serve", "--ready-json", *SERVER_FLAGS, "--answer", answer, *flags]
        if "--rtp-ports" not in flags:
            command += ["--rtp-ports", RTP_PORTS]
        super().__init__(command, core, {"PYTHONPATH": str(ROOT / "src")})
        line = self.line()
        if not line:
            sys.exit("the server did not start")
        self.ready: dict[str, Any] = json.loads(line)

    @property
    def sip_port(self) -> int:
        """Where it takes calls."""
        return int(self.ready["sip"].rpartition(":")[2])

    def health(self) -> dict[str, Any]:
        """What ``/health`` says."""
        from urllib.request import urlopen

        with urlopen(self.ready["http"] + "/health", timeout=10) as answer:
            return dict(json.load(answer))


class Caller(Process):
    """The load generator; its options are those of ``caller.c``."""

    def __init__(self, port: int, **options: Any) -> None:
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        super().__init__([str(built("caller.c")), "--port", str(port), *words], LOAD_CORE)

    def result(self) -> dict[str, Any]:
        """Wait for its end, and return its summary."""
        assert self.popen.stdout is not None
        text = self.popen.stdout.read()
        self.popen.wait()
        self.stop()
        return dict(json.loads(text.splitlines()[-1]))


def call(port: int, **options: Any) -> dict[str, Any]:
    """Make calls, and return the generator's summary."""
    return Caller(port, **options).result()


@dataclass(slots=True)
class Spent:
    """What a stretch of a benchmark cost the server."""

    cpu_s: float = 0.0
    seconds: float = 0.0


@contextlib.contextmanager
def spending(process: Process) -> Iterator[Spent]:
    """Measure a process's processor time from here to the end of the block."""
    spent = Spent()
    cpu_s, began = process.cpu_s(), time.monotonic()
    yield spent
    spent.cpu_s, spent.seconds = process.cpu_s() - cpu_s, time.monotonic() - began


# -- the machine


class Noise:
    """What the machine did beside us: a fixed piece of work before and after, and the time that others took."""

    def __init__(self) -> None:
        self._spins = [_spin_ms()]
        self._stat = _core_times()
        self._ours = _children_s()

    def line(self) -> str:
        """A sentence for under the table."""
        self._spins.append(_spin_ms())
        now, before = _core_times(), self._stat
        total = sum(now[core][1] - before[core][1] for core in now)
        busy = sum(now[core][0] - before[core][0] for core in now)
        steal = sum(now[core][2] - before[core][2] for core in now)
        ours = _children_s() - self._ours
        others = max(busy - ours, 0.0) / total if total else 0.0
        spins = ", ".join(f"{ms:.0f}" for ms in self._spins)
        return (
            f"machine: {len(now)} cores, Python {platform.python_version()}; a fixed loop took {spins} ms before and "
            f"after; others used {others:.0%} of the cores, the hypervisor took {steal / total if total else 0:.1%}"
        )


def _spin_ms() -> float:
    began = time.perf_counter()
    total = 0
    for number in range(2_000_000):
        total += number
    return (time.perf_counter() - began) * 1000


def _core_times() -> dict[str, tuple[float, float, float]]:
    """Busy, total and stolen seconds of each core."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name != "cpu":
            values = [int(number) / tick for number in numbers]
            idle = values[3] + values[4]
            found[name] = (sum(values[:8]) - idle, sum(values[:8]), values[7])
    return found


def _children_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# -- tables


@dataclass(slots=True)
class Row:
    """One figure. ``bar`` is its limit, ``most`` whether it is a maximum; ``beside`` is a peer's figure or a remark."""

    name: str
    value: float
    bar: float | None = None
    unit: str = ""
    most: bool = True
    beside: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bar holds; None where there is none."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.most else self.value >= self.bar


@dataclass(slots=True)
class Table:
    """A benchmark's figures, printed at its end. ``invalid`` names what makes a run worthless."""

    title: str
    rows: list[Row] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    noise: Noise = field(default_factory=Noise)

    def add(self, name: str, value: float, bar: float | None = None, unit: str = "", **more: Any) -> None:
        """Add a figure."""
        self.rows.append(Row(name, value, bar, unit, **more))

    def check(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Mark the run invalid when the generator was late; returns the summary."""
        if summary["late_p99_ms"] > LATE_MS:
            self.invalid.append(f"the generator was {summary['late_p99_ms']:.1f} ms late (p99)")
        return summary

    def show(self) -> int:
        """Print it. Returns the exit status: 0 when every bar holds, 1 when not, 2 when the run says nothing."""
        lines = [("figure", "value", "bar", "holds", "beside")]
        for row in self.rows:
            bar = "" if row.bar is None else f"{'<=' if row.most else '>='} {_number(row.bar)}"
            holds = {None: "", True: "yes", False: "NO"}[row.holds]
            lines.append((row.name, f"{_number(row.value)} {row.unit}".strip(), bar, holds, row.beside))
        widths = [max(len(line[column]) for line in lines) for column in range(5)]
        print(f"\n{self.title}")
        for number, line in enumerate(lines):
            print("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |")
            if not number:
                print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        print(self.noise.line())
        for why in dict.fromkeys(self.invalid):
            print(f"INVALID: {why}")
        if self.invalid:
            return 2
        return int(any(row.holds is False for row in self.rows))


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def options(doc: str | None, **defaults: Any) -> argparse.Namespace:
    """Parse the command line: an option for every default, of its type."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default, help=f"[{default}]")
    return parser.parse_args()
