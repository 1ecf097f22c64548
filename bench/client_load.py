"""One figure of one client, in a fresh process: what ``client.py`` runs. Prints a line of JSON.

    python bench/client_load.py ROW KIND PORT COUNT

KIND is openai or offhook, or one with another back end: openai+aiohttp, offhook+uvloop.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from typing import Any

KEY = "sk-bench"
# 1.3 kB of JSON, like the figures in the design.
SESSION: dict[str, Any] = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "You are the clinic's receptionist. Be brief. " * 18,
    "audio": {
        "input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 400}},
        "output": {"voice": "marin"},
    },
    "tools": [
        {
            "type": "function",
            "name": "book",
            "description": "Books an appointment.",
            "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
        }
    ],
}


def client(kind: str, port: int) -> Any:
    """A blocking client."""
    options: dict[str, Any] = {"api_key": KEY, "base_url": f"http://127.0.0.1:{port}/v1"}
    if kind.startswith("offhook"):
        import offhook

        return offhook.Client(**options)
    from openai import OpenAI

    return OpenAI(**options)


def async_client(kind: str, port: int) -> Any:
    """An asynchronous client."""
    options: dict[str, Any] = {"api_key": KEY, "base_url": f"http://127.0.0.1:{port}/v1", "timeout": 120}
    if kind.startswith("offhook"):
        import offhook

        return offhook.AsyncClient(**options)
    import openai

    if kind == "openai+aiohttp":
        options["http_client"] = openai.DefaultAioHttpClient()
    return openai.AsyncOpenAI(**options)


def sync_accept(kind: str, port: int, count: int) -> dict[str, float]:
    """C1: processor time of one ``accept``."""
    accept = client(kind, port).realtime.calls.accept
    for _ in range(200):
        accept("rtc_1", **SESSION)
    before = time.process_time()
    for _ in range(count):
        accept("rtc_1", **SESSION)
    return {"cpu_us": (time.process_time() - before) / count * 1e6}


def in_flight(kind: str, port: int, count: int) -> dict[str, float]:
    """C2: calls a second with 100 and 1,000 in flight."""
    loop_factory = None
    if kind.endswith("+uvloop"):
        import uvloop

        loop_factory = uvloop.new_event_loop
    rates: dict[str, float] = {}

    async def measure() -> None:
        for width in (100, 1000):
            async with async_client(kind, port) as one:
                accept = one.realtime.calls.accept

                async def work(each: int) -> None:
                    for _ in range(each):
                        await accept("rtc_1", **SESSION)  # noqa: B023

                await asyncio.gather(*(work(2) for _ in range(width)))
                total = max(count, 2 * width)
                before, cpu = time.perf_counter(), time.process_time()
                await asyncio.gather(*(work(total // width) for _ in range(width)))
                rates[f"per_s_{width}"] = total / (time.perf_counter() - before)
                rates[f"cpu_us_{width}"] = (time.process_time() - cpu) / total * 1e6

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(measure())
    return rates


def events(kind: str, port: int, count: int) -> dict[str, float]:
    """C6: processor time of one event, received and typed."""

    async def measure() -> float:
        async with async_client(kind, port).realtime.connect(call_id="rtc_1") as connection:
            await connection.response.create()
            for _ in range(count // 10):
                await connection.recv()
            before = time.process_time()
            for _ in range(count - count // 10):
                await connection.recv()
            return time.process_time() - before

    result = {"cpu_us": asyncio.run(measure()) / (count - count // 10) * 1e6}
    with client(kind, port).realtime.connect(call_id="rtc_1") as connection:
        connection.response.create()
        before = time.process_time()
        for _ in range(count):
            connection.recv()
        result["sync_cpu_us"] = (time.process_time() - before) / count * 1e6
    return result


def webhook(kind: str, port: int, count: int) -> dict[str, float]:
    """C7: processor time of ``unwrap``."""
    secret = b"a secret of twenty-four by"
    given = "whsec_" + base64.b64encode(secret).decode()
    headers = [
        {"name": name, "value": f"<sip:{name}@example.com>;tag=12345"} for name in ("From", "To", "Call-ID", "Via")
    ]
    event = {
        "object": "event",
        "id": "evt_1",
        "type": "realtime.call.incoming",
        "created_at": 1_800_000_000,
        "data": {"call_id": "rtc_u1_" + "a" * 32, "sip_headers": headers},
    }
    body, now = json.dumps(event).encode(), str(int(time.time()))
    digest = hmac.digest(secret, f"wh_1.{now}.".encode() + body, hashlib.sha256)
    signed = {
        "webhook-id": "wh_1",
        "webhook-timestamp": now,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    unwrap = client(kind, port).webhooks.unwrap
    for _ in range(100):
        unwrap(body, signed, secret=given)
    before = time.process_time()
    for _ in range(count):
        unwrap(body, signed, secret=given)
    return {"cpu_us": (time.process_time() - before) / count * 1e6}


ROWS = {"C1": sync_accept, "C2": in_flight, "C6": events, "C7": webhook}

if __name__ == "__main__":
    row, kind_, port_, count_ = sys.argv[1:]
    print(json.dumps(ROWS[row](kind_, int(port_), int(count_))), flush=True)
