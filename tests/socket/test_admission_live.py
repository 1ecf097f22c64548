"""The measuring that admission lives by goes on, whatever a plugin does."""

from __future__ import annotations

import logging

import pytest
from tests.socket.live import Live, run_jumping, until

from offhook.model.scripted import ScriptedBackend


class Miscounting(ScriptedBackend):
    """A backend that cannot tell its queue."""

    asked = 0

    @property
    def queue_wait_ms(self) -> float:
        self.asked += 1
        raise RuntimeError("lost count")


def test_a_backend_that_cannot_tell_its_queue_is_named_once_and_the_rest_is_measured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Miscounting()

    async def test(one: Live) -> None:
        await until(lambda: backend.asked > 3)
        assert one.server.health()["calls"]["limit"] > 1

    with caplog.at_level(logging.ERROR):
        run_jumping(test, backend=backend)
    assert [record.getMessage() for record in caplog.records].count("the model's queue cannot be told") == 1
