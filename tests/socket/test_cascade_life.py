"""The parts of a cascade are started side by side, and all of them run or none."""

from __future__ import annotations

import asyncio

import pytest

from offhook.errors import ConfigError
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.local.ear import LocalEar
from offhook.model.local.pool import Pool, PoolOptions
from offhook.model.local.voice import LocalVoice


def pool(name: str, **load: object) -> Pool:
    return Pool(PoolOptions(name, "tests.socket.worker_engine:load", load=load))


def test_a_part_that_cannot_be_started_takes_the_others_down() -> None:
    async def test() -> None:
        ear, voice = LocalEar(pool("ear")), LocalVoice(pool("voice", missing=True))
        cascade = Cascade("demo", ear, DemoBrain(), voice)
        with pytest.raises(ConfigError, match="nothing is installed"):
            await cascade.start()
        assert ear.pids == []

    asyncio.run(test())


def test_the_report_names_the_parts_and_counts_their_work() -> None:
    async def test() -> None:
        ear, voice = LocalEar(pool("ear")), LocalVoice(pool("voice"))
        cascade = Cascade("demo", ear, DemoBrain(), voice)
        await cascade.start()
        try:
            report = cascade.report()
            assert report["name"] == "demo"
            assert report["brain"] == {"name": "demo"}
            assert report["ear"] == {
                "name": "whisper",
                "workers": 1,
                "serving": 0,
                "waiting": 0,
                "queue_wait_ms": 0.0,
                "finished": 0,
                "failed": 0,
                "cancelled": 0,
                "refused": 0,
                "died": 0,
                "retried": 0,
            }
        finally:
            await cascade.stop()

    asyncio.run(test())
