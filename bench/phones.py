"""The telephone network for tests: how fast, and how much the same every time.

    python bench/phones.py [--repetitions 500] [--calls 50]

In memory, on one core: from a fresh process to the end of its first scripted call; scripted calls of two seconds, one
after another and all at once; a call of five minutes in which both sides speak. Then one call with loss and jitter is
repeated beside two processes that do nothing but compute; every repetition must be the first one to the last sample.
"""

from __future__ import annotations

import sys
from collections import Counter

from harness import LOAD_CORE, SERVER_CORE, Process, Table, median, options

WORK = """
import sys, time
began = time.perf_counter()
from offhook.media.blas import one_thread
one_thread()
{work}
"""
FIRST = """
from offhook.testing.sync import Handset
with Handset() as phone:
    phone.model.hears("help", "Of course.")
    call = phone.dial("+15550001")
    call.says("help me please")
    call.hears("of course")
    call.hangup()
print(time.perf_counter() - began, time.process_time())
"""
ONE_BY_ONE = """
from offhook.testing.sync import Handset
with Handset() as phone:
    phone.model.hears("help", "Yes.")
    for number in range(-3, {calls}):
        if not number:
            began = time.process_time()
        call = phone.dial("+15550001")
        call.says("help me")
        call.hears("yes")
        call.hangup()
    cpu_s = time.process_time() - began
print(cpu_s)
"""
AT_ONCE = """
import asyncio
from offhook.testing.handset import AsyncHandset
from offhook.testing.sync import JumpingTime
async def talk(phone):
    call = await phone.dial("+15550001")
    await call.says("help me")
    await call.hears("yes")
    await call.hangup()
async def whole():
    async with AsyncHandset() as phone:
        phone.model.hears("help", "Yes.")
        await talk(phone)
        began = time.process_time()
        await asyncio.gather(*(talk(phone) for _ in range({calls})))
        print(time.process_time() - began)
clock = JumpingTime()
clock.run(whole())
clock.close()
"""
FIVE_MINUTES = """
from offhook.testing.sync import Handset
with Handset() as phone:
    phone.model.hears("help", "Of course, one moment please.")
    began = time.process_time()
    call = phone.dial("+15550001")
    for _ in range(30):
        call.says("help me please")
        call.hears("of course")
        phone.sleep(7000)
    call.hangup()
    cpu_s = time.process_time() - began
print(cpu_s)
"""
REPEATED = """
import hashlib, json
from offhook.testing.box import PhoneOptions
from offhook.testing.sync import Handset
for _ in range({repetitions}):
    with Handset(PhoneOptions(seed=7, loss=0.02, delay_ms=30, jitter_ms=40)) as phone:
        phone.model.hears("help", "Once upon a time there was a telephone.").hears("stop", "Yes.")
        call = phone.dial("+15550001")
        call.says("help me please")
        call.hears("once")
        call.says("stop", interrupting=True)
        call.hears("yes")
        call.hangup()
        story = [call.events, [str(line) for line in call.transcript], str(phone.ladder)]
        print(hashlib.sha256(json.dumps(story).encode() + call.recording).hexdigest(), flush=True)
"""
BURN = "while True: pass"


def run(work: str, **names: int) -> list[str]:
    """Run some work in a process of its own on one core; return its lines."""
    code = WORK.format(work=work.format(**names))
    lines = []
    with Process([sys.executable, "-c", code], SERVER_CORE) as process:
        while line := process.line():
            lines.append(line.strip())
    return lines


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, repetitions=500, calls=50)
    table = Table("the telephone network for tests, in memory on one core")
    run(FIRST)  # compiles the modules
    first = [[float(each) for each in run(FIRST)[0].split()] for _ in range(5)]
    waits = [wait_s for wait_s, _ in first]
    table.add(
        "import to the end of the first call", median(waits), 1.0, "s", beside=f"{min(waits):.2f} to {max(waits):.2f}"
    )
    table.add(
        "processor time of that, the interpreter's start included", median(cpu_s for _, cpu_s in first), None, "s"
    )
    seconds = float(run(AT_ONCE, calls=args.calls)[0])
    table.add(f"{args.calls} calls of two seconds at once: processor time", seconds, args.calls / 50, "s")
    seconds = float(run(ONE_BY_ONE, calls=args.calls)[0])
    table.add(f"{args.calls} calls of two seconds, one after another: processor time", seconds, None, "s")
    table.add("a call of five minutes: processor time", float(run(FIVE_MINUTES)[0]), 4.0, "s")
    with Process([sys.executable, "-c", BURN], SERVER_CORE), Process([sys.executable, "-c", BURN], LOAD_CORE):
        told = run(REPEATED, repetitions=args.repetitions)
    others = args.repetitions - Counter(told).most_common(1)[0][1] if told else args.repetitions
    table.add(f"of {args.repetitions} repetitions under load: not the same", others, 0, "")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
