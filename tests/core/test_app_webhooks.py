"""The webhook of an application: genuine ones only, each call once, no more than there is room for."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.scripted_transport import AsyncScripted, answer

import offhook
from offhook.app import limits
from offhook.wire.signature import sign_webhook, webhook_key

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="


class Desk:
    """An application whose server takes everything, and webhooks for it."""

    def __init__(self, **options: Any) -> None:
        self.transport = AsyncScripted([answer()])
        client = offhook.AsyncClient(
            api_key="sk-test", webhook_secret=SECRET, base_url="http://127.0.0.1:9/v1", transport=self.transport
        )
        self.app = offhook.App(client=client, **options)
        self.calls: list[offhook.IncomingCall] = []
        self.decide = asyncio.Event()

        @self.app.incoming
        async def take(call: offhook.IncomingCall) -> None:
            self.calls.append(call)
            await self.decide.wait()
            await call.reject(486)

    @property
    def sent(self) -> list[str]:
        return [f"{each.target.rpartition('/')[2]} {each.body.decode()}" for each in self.transport.requests]


def event(call_id: str = "rtc_1", type_: str = "realtime.call.incoming") -> bytes:
    headers = [{"name": "From", "value": '"Ann" <sip:+15550001@example.com>;tag=1'}, {"name": "X-Queue", "value": "7"}]
    data = {"call_id": call_id, "sip_headers": headers}
    return json.dumps({"id": "evt_1", "object": "event", "type": type_, "created_at": 1, "data": data}).encode()


def signed(body: bytes, webhook_id: str = "wh_1", secret: str = SECRET) -> list[tuple[bytes, bytes]]:
    now_s = int(time.time())
    signature = sign_webhook([webhook_key(secret)], webhook_id, now_s, body)
    pairs = {"webhook-id": webhook_id, "webhook-timestamp": str(now_s), "webhook-signature": signature}
    return [(name.encode(), value.encode()) for name, value in pairs.items()]


async def post(
    app: Any, body: bytes, headers: list[tuple[bytes, bytes]] | None = None, method: str = "POST", size_bytes: int = 100
) -> int:
    parts = [body[start : start + size_bytes] for start in range(0, max(len(body), 1), size_bytes)]
    messages = [{"type": "http.request", "body": each, "more_body": each is not parts[-1]} for each in parts]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/hook", "headers": headers or signed(body)}
    await app(scope, receive, send)
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    status: int = sent[0]["status"]
    return status


def run(test: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20):
            await test

    asyncio.run(whole())


def test_a_call_is_given_to_the_handler_and_the_webhook_answered_at_once() -> None:
    async def test() -> None:
        desk = Desk()
        assert await post(desk.app, event()) == 200
        await asyncio.sleep(0)
        (call,) = desk.calls
        assert (call.call_id, call.caller, call.called) == ("rtc_1", "+15550001", "")
        assert (call.header("x-QUEUE"), call.header("x-none")) == ("7", None)
        assert call.undecided
        assert desk.sent == []
        desk.decide.set()
        await desk.app.close()
        assert desk.sent == ['reject {"status_code":486}']

    run(test())


@pytest.mark.parametrize("webhook_id", ["wh_1", "wh_2"])
def test_a_call_that_is_announced_again_is_handled_once(webhook_id: str) -> None:
    async def test() -> None:
        desk = Desk()
        assert await post(desk.app, event()) == 200
        assert await post(desk.app, event(), signed(event(), webhook_id)) == 200
        desk.decide.set()
        await desk.app.close()
        assert len(desk.calls) == 1

    run(test())


def test_what_is_remembered_of_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REMEMBERED", 4)

    async def test() -> None:
        desk = Desk()
        desk.decide.set()
        for number in (1, 2, 3, 1):
            body = event(f"rtc_{number}")
            assert await post(desk.app, body, signed(body, f"wh_{number}")) == 200
        await desk.app.close()
        assert [call.call_id for call in desk.calls] == ["rtc_1", "rtc_2", "rtc_3", "rtc_1"]

    run(test())


def test_a_webhook_that_is_not_genuine_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        desk = Desk()
        other = "whsec_b3RoZXI="
        assert await post(desk.app, event(), signed(event(), secret=other)) == 400
        assert await post(desk.app, event("rtc_2"), signed(event())) == 400
        assert await post(desk.app, event(), [(b"content-type", b"application/json")]) == 400
        assert await post(desk.app, b"{", signed(b"{")) == 400
        unreadable = event().replace(b"sip_headers", b"headers")
        assert await post(desk.app, unreadable, signed(unreadable)) == 400
        await desk.app.close()
        assert desk.calls == []

    run(test())
    assert len(caplog.records) == 5


def test_other_webhooks_are_taken_and_nothing_is_made_of_them() -> None:
    async def test() -> None:
        desk = Desk()
        body = event(type_="batch.completed")
        assert await post(desk.app, body) == 200
        assert await post(desk.app, b"{}", signed(b"{}")) == 200
        assert await post(desk.app, b"", method="GET") == 405
        await desk.app.close()
        assert desk.calls == []

    run(test())


def test_a_body_that_is_endless_is_refused() -> None:
    async def test() -> None:
        desk = Desk()
        body = b"x" * (limits.MAX_WEBHOOK_BYTES + 1)
        assert await post(desk.app, body, size_bytes=65536) == 413

    run(test())


def test_a_call_for_which_there_is_no_room_is_asked_to_come_again() -> None:
    """The server announces a call again while it rings."""

    async def test() -> None:
        desk = Desk(max_calls=1)
        second = event("rtc_2")
        assert await post(desk.app, event()) == 200
        assert await post(desk.app, second, signed(second, "wh_2")) == 503
        desk.decide.set()
        while await post(desk.app, second, signed(second, "wh_2")) == 503:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        await desk.app.close()
        assert [call.call_id for call in desk.calls] == ["rtc_1", "rtc_2"]

    run(test())


def test_an_application_that_stops_waits_for_its_calls_and_takes_no_more() -> None:
    async def test() -> None:
        desk = Desk()
        await post(desk.app, event())
        closing = asyncio.create_task(desk.app.close())
        await asyncio.sleep(0)
        second = event("rtc_2")
        assert await post(desk.app, second, signed(second, "wh_2")) == 503
        assert not closing.done()
        desk.decide.set()
        await closing
        assert desk.sent == ['reject {"status_code":486}']
        assert not desk.transport.closed, "the client is not the application's own"

    run(test())


def test_a_call_that_takes_too_long_is_ended_when_the_application_stops() -> None:
    async def test() -> None:
        desk = Desk(drain_s=0.01)
        await post(desk.app, event())
        await desk.app.close()
        assert desk.sent == ['reject {"status_code":503}']

    run(test())


def test_an_application_works_on_in_another_event_loop() -> None:
    desk = Desk()
    desk.decide.set()

    async def test(number: int) -> None:
        body = event(f"rtc_{number}")
        assert await post(desk.app, body, signed(body, f"wh_{number}")) == 200
        await desk.app.close()

    for number in range(2):
        desk.decide = asyncio.Event()
        desk.decide.set()
        run(test(number))
    assert len(desk.calls) == 2


# -- refusing to start


async def start(app: offhook.App) -> dict[str, Any]:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    return sent[0]


def bare(**options: Any) -> offhook.App:
    app = offhook.App(**{"api_key": "sk-test", **options})

    @app.incoming
    async def take(call: offhook.IncomingCall) -> None: ...

    return app


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_WEBHOOK_SECRET", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("app", "mend"),
    [
        (bare, "set OPENAI_WEBHOOK_SECRET=whsec_..."),
        (lambda: bare(webhook_secret="whsec_???"), "base64"),
        (lambda: bare(api_key=None, webhook_secret=SECRET), "OPENAI_API_KEY"),
        (lambda: bare(api_key="sk-test\n", webhook_secret=SECRET), "one line"),
        (lambda: bare(base_url="example.com", webhook_secret=SECRET), "http://HOST:PORT"),
        (lambda: offhook.App(api_key="sk-test", webhook_secret=SECRET), "@app.incoming"),
    ],
)
def test_an_application_that_cannot_work_refuses_to_start_and_says_the_mend(app: Any, mend: str) -> None:
    made = app()
    answered = asyncio.run(start(made))
    assert answered["type"] == "lifespan.startup.failed"
    assert mend in answered["message"]
    with pytest.raises(offhook.OffhookError, match=mend.split("=", maxsplit=1)[0].replace("?", ".")):
        made.run()


def test_an_application_without_a_secret_takes_no_webhooks(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        assert await post(bare(), event()) == 500

    run(test())
    assert "OPENAI_WEBHOOK_SECRET" in caplog.text


def test_keys_are_read_when_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    app = bare(api_key=None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    assert asyncio.run(start(app)) == {"type": "lifespan.startup.complete"}


def test_it_says_what_to_install_to_run_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(offhook.OffhookError, match="pip install uvicorn"):
        bare(webhook_secret=SECRET).run()


def test_handlers_that_cannot_be_are_refused() -> None:
    app = bare()

    def plain(call: offhook.IncomingCall) -> None: ...

    async def second(call: offhook.IncomingCall) -> None: ...

    with pytest.raises(TypeError, match="async def"):
        offhook.App().incoming(plain)
    with pytest.raises(ValueError, match="handler"):
        app.incoming(second)

    @app.tool(timeout=5, name="hours")
    def opening_hours() -> None: ...

    assert opening_hours.__name__ == "opening_hours"
    with pytest.raises(ValueError, match="hours"):
        app.tool(name="hours")(opening_hours)


def test_a_socket_is_refused() -> None:
    async def test() -> None:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await bare()({"type": "websocket", "path": "/"}, receive, send)
        assert [each["type"] for each in sent] == ["websocket.close"]

    run(test())
