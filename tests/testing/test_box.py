"""Everything of a telephone's box is there, or nothing of it."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from offhook.errors import LocalError, OffhookError
from offhook.testing.box import PhoneOptions
from offhook.testing.phone import Phone
from offhook.testing.sync import Handset


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each is not threading.main_thread()]


@pytest.mark.parametrize("real", [False, True])
def test_a_server_that_cannot_start_leaves_nothing_behind(real: bool) -> None:
    before = threads()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = PhoneOptions(real=real, settings={"http": f"127.0.0.1:{taken.getsockname()[1]}"})
        with pytest.raises(OffhookError):
            Handset(options).__enter__()
    assert threads() == before


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("fails", ["__aenter__", "__aexit__"])
def test_a_telephone_that_fails_does_not_leave_its_server_running(
    monkeypatch: pytest.MonkeyPatch, real: bool, fails: str
) -> None:
    right = getattr(Phone, fails)

    async def failing(phone: Phone, *given: Any) -> None:
        await right(phone, *given)
        raise LocalError("the line is cut")

    monkeypatch.setattr(Phone, fails, failing)
    before, port = threads(), free_port()
    handset = Handset(PhoneOptions(real=real, settings={"http": f"127.0.0.1:{port}"}))
    with pytest.raises(LocalError, match="the line is cut"), handset:
        pass
    assert threads() == before
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_an_application_that_does_not_start_is_not_left_half_started(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    with Handset() as phone:
        with pytest.raises(TimeoutError):
            phone.connect(app)
        phone.sleep(1)
        assert ended == ["ended"]
        assert phone.dial().end is None, "who was connected before still is"
