"""What the client sends, seen by a transport."""

from __future__ import annotations

import asyncio
import json
from email import policy
from email.parser import BytesParser
from typing import Any

import pytest
from tests.scripted_transport import AsyncScripted, Scripted, answer

import offhook
from offhook import types
from offhook.client.http1 import encode_request
from offhook.errors import ConfigError

KEY = "sk-secret-of-the-tests"
URL = "http://127.0.0.1:8080/v1"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET", "CUSTOM_HEADERS"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


def client(transport: Scripted | None = None, **options: Any) -> offhook.Client:
    return offhook.Client(**{"api_key": KEY, "base_url": URL, "transport": transport or Scripted(), **options})


def sent(action: str, *args: Any, options: dict[str, Any] | None = None, **members: Any) -> types.Request:
    transport = Scripted()
    getattr(client(transport, **(options or {})).realtime.calls, action)(*args, **members)
    return transport.request


def test_accept_sends_what_was_given_and_nothing_else() -> None:
    request = sent("accept", "rtc_1", type="realtime", instructions="Hi", tracing=None, tools=[])
    assert (request.method, request.url) == ("POST", URL + "/realtime/calls/rtc_1/accept")
    assert json.loads(request.body) == {"type": "realtime", "instructions": "Hi", "tracing": None, "tools": []}
    assert request.headers["accept"] == "*/*"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-stainless-retry-count"] == "0"


def test_structures_and_dicts_say_the_same() -> None:
    vad = types.ServerVad(silence_duration_ms=400, idle_timeout_ms=None)
    audio = types.Audio(input=types.AudioInput(turn_detection=vad, noise_reduction=None))
    tool = types.FunctionTool(name="book", parameters={"type": "object"})
    typed = sent("accept", "rtc_1", type="realtime", audio=audio, tools=[tool])
    plain = sent(
        "accept",
        "rtc_1",
        type="realtime",
        audio={
            "input": {
                "noise_reduction": None,
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 400, "idle_timeout_ms": None},
            }
        },
        tools=[{"type": "function", "name": "book", "parameters": {"type": "object"}}],
    )
    assert json.loads(typed.body) == json.loads(plain.body)


def test_hangup_has_no_body_and_reject_an_empty_one() -> None:
    hangup = sent("hangup", "rtc_1")
    assert hangup.body == b""
    assert "content-type" not in hangup.headers
    assert b"content-length: 0\r\n" in encode_request(hangup)
    assert sent("reject", "rtc_1").body == b"{}"
    assert sent("reject", "rtc_1", status_code=486).body == b'{"status_code":486}'
    assert sent("refer", "rtc_1", target_uri="tel:+1").body == b'{"target_uri":"tel:+1"}'


@pytest.mark.parametrize(
    ("call_id", "segment"),
    [("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("é", "%C3%A9"), ("a b", "a%20b"), ("..a", "..a"), ("%2e", "%252e")],
)
def test_an_id_stays_one_segment_of_the_path(call_id: str, segment: str) -> None:
    assert sent("hangup", call_id).target == f"/v1/realtime/calls/{segment}/hangup"


@pytest.mark.parametrize("call_id", ["", ".", ".."])
@pytest.mark.parametrize("action", ["accept", "hangup", "refer", "reject"])
def test_an_id_that_names_another_path_is_refused_before_anything_is_sent(action: str, call_id: str) -> None:
    members = {"accept": {"type": "realtime"}, "refer": {"target_uri": "tel:+1"}}.get(action, {})
    transport = Scripted()
    with pytest.raises(ValueError, match=r"call_id|id of a call"):
        getattr(client(transport).realtime.calls, action)(call_id, **members)
    assert transport.requests == []


def test_extras_of_one_request_win() -> None:
    request = sent(
        "accept",
        "rtc_1",
        type="realtime",
        model="one",
        options={"default_headers": {"X-One": "1", "X-Two": "2"}, "default_query": {"a": 1, "b": [1, 2]}},
        extra_headers={"x-one": "other", "X-TWO": None, "Authorization": None},
        extra_query={"a": True, "c": None},
        extra_body={"model": "two", "future": {"x": None}},
        idempotency_key="once",
    )
    assert json.loads(request.body) == {"type": "realtime", "model": "two", "future": {"x": None}}
    assert request.headers["x-one"] == "other"
    assert request.headers["idempotency-key"] == "once"
    assert not {"x-two", "authorization"} & set(request.headers)
    assert request.target.endswith("/accept?a=true&b=1&b=2")


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\0b", "é", "a\x7f"])
def test_a_header_cannot_be_broken_out_of(value: str) -> None:
    with pytest.raises(ValueError, match="header") as caught:
        sent("hangup", "rtc_1", extra_headers={"X-Tenant": value})
    assert value not in str(caught.value)
    with pytest.raises(ValueError, match="header"):
        sent("hangup", "rtc_1", extra_headers={f"X-{value}": "1"})
    for setting in ({"api_key": f"sk-{value}"}, {"project": f"proj{value}"}, {"default_headers": {"X-Tenant": value}}):
        (name,) = setting
        with pytest.raises(ConfigError, match=name) as refused:
            client(**setting)
        assert value not in str(refused.value)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_the_framing_of_a_message_is_not_the_applications(name: str) -> None:
    with pytest.raises(ValueError, match="name of a header"):
        sent("reject", "rtc_1", extra_headers={name: "7"})


def test_create_sends_the_bare_offer_without_a_session() -> None:
    request = sent("create", sdp="v=0\r\n")
    assert request.headers["content-type"] == "application/sdp"
    assert request.headers["accept"] == "application/sdp"
    assert request.body == b"v=0\r\n"


@pytest.mark.parametrize(
    ("given", "session"),
    [
        ({"session": {"type": "realtime"}}, {"type": "realtime"}),
        ({"session": None}, None),
        ({"session": types.SessionParams(type="realtime")}, {"type": "realtime"}),
        ({"session": {"model": "x"}, "extra_body": {"session": {"model": "y"}}}, {"model": "y"}),
    ],
)
def test_create_sends_a_form_with_a_session(given: dict[str, Any], session: object) -> None:
    offer = "v=0\r\ns=offhook π\r\n"
    request = sent("create", sdp=offer, extra_headers={"Content-Type": "text/plain"}, **given)
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=policy.HTTP).parsebytes(head + request.body)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}  # type: ignore[attr-defined]
    assert parts["sdp"].get_content_type() == "application/sdp"
    assert parts["sdp"].get_payload(decode=True) == offer.encode()
    assert parts["session"].get_content_type() == "application/json"
    assert json.loads(parts["session"].get_payload(decode=True)) == session
    assert all(part.get_filename() is None for part in parts.values())


def test_a_part_that_holds_the_boundary_stays_one_part() -> None:
    request = sent("create", sdp="--offhook--\r\n--offhook-x\r\n", session={"type": "realtime"})
    boundary = request.headers["content-type"].partition("boundary=")[2]
    assert request.body.count(f"--{boundary}".encode()) == 3


def test_settings_come_from_the_environment_as_the_official_package_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-env",
        "OPENAI_BASE_URL": "https://voice.example:8443/v1/",
        "OPENAI_ORG_ID": "org_1",
        "OPENAI_PROJECT_ID": "proj_1",
        "OPENAI_CUSTOM_HEADERS": "X-One: 1\nX-Two:2",
    }.items():
        monkeypatch.setenv(name, value)
    transport = Scripted()
    offhook.Client(transport=transport).realtime.calls.hangup("rtc_1")
    headers = transport.request.headers
    assert transport.request.url == "https://voice.example:8443/v1/realtime/calls/rtc_1/hangup"
    assert headers["host"] == "voice.example:8443"
    assert headers["authorization"] == "Bearer sk-env"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org_1", "proj_1")
    assert (headers["x-one"], headers["x-two"]) == ("1", "2")


def test_no_key_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        offhook.Client(base_url=URL)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1",
        "http://",
        "nonsense",
        "http://user:pass@x/v1",
        "http://x/v1?a=b",
        "http://x:99999/",
        "http://x/a b",
    ],
)
def test_a_base_url_that_cannot_be_one_is_refused_without_showing_what_is_in_it(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url") as caught:
        client(base_url=url)
    assert "pass" not in str(caught.value).replace("password", "")


def test_a_key_may_be_a_function_that_is_asked_every_time() -> None:
    keys = iter(["one", "two", "three"])
    transport = Scripted()
    asked = client(transport, api_key=lambda: next(keys))
    asked.realtime.calls.hangup("rtc_1")
    asked.realtime.calls.hangup("rtc_1")
    assert [each.headers["authorization"] for each in transport.requests] == ["Bearer one", "Bearer two"]


def test_an_asynchronous_key_is_awaited() -> None:
    async def key() -> str:
        return "later"

    async def test() -> types.Request:
        transport = AsyncScripted()
        async with offhook.AsyncClient(api_key=key, base_url=URL, transport=transport) as one:
            await one.realtime.calls.hangup("rtc_1")
        assert transport.closed
        return transport.request

    assert asyncio.run(test()).headers["authorization"] == "Bearer later"


def test_with_options_changes_a_copy_and_shares_the_connections() -> None:
    transport = Scripted()
    one = client(transport, default_headers={"X-One": "1"})
    two = one.with_options(timeout=5, max_retries=0, api_key="sk-two", default_headers=None)
    one.realtime.calls.hangup("rtc_1")
    two.realtime.calls.hangup("rtc_1")
    one.realtime.calls.hangup("rtc_1", timeout=None)
    assert transport.timeouts == [600, 5, None]
    assert [each.headers.get("x-one") for each in transport.requests] == ["1", None, "1"]
    assert transport.requests[1].headers["authorization"] == "Bearer sk-two"


@pytest.mark.parametrize("kind", [offhook.Client, offhook.AsyncClient])
def test_a_copy_takes_no_key_to_another_host_when_the_environment_has_changed(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("API_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET")

    def say(whose: str) -> None:
        for name in names:
            monkeypatch.setenv(f"OPENAI_{name}", f"{name}-{whose}")
        monkeypatch.setenv("OPENAI_BASE_URL", f"https://{whose}.example/v1")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Whose: {whose}")

    async def sent_by(client: Any) -> types.Request:
        done = client.realtime.calls.hangup("rtc_1")
        if kind is offhook.AsyncClient:
            await done
        request: types.Request = transport.requests.pop()
        return request

    transport: Any = Scripted() if kind is offhook.Client else AsyncScripted()
    say("one")
    first = kind(transport=transport)
    expected = asyncio.run(sent_by(first))
    assert expected.headers["authorization"] == "Bearer API_KEY-one"
    say("two")
    for copy in (first.with_options(timeout=5), first.with_options(max_retries=0).with_options(timeout=5)):
        request = asyncio.run(sent_by(copy))
        assert (request.url, request.headers) == (expected.url, expected.headers)
        assert copy._webhook_secret == "WEBHOOK_SECRET-one"
        assert copy.realtime is not first.realtime
    given = asyncio.run(sent_by(first.with_options(base_url="https://three.example/v1", api_key="sk-three")))
    assert given.url.startswith("https://three.example/v1/")
    assert given.headers["authorization"] == "Bearer sk-three"
    assert given.headers["x-whose"] == "one"

    for name in (*names, "BASE_URL", "CUSTOM_HEADERS"):
        monkeypatch.delenv(f"OPENAI_{name}")
    bare = kind(api_key=KEY, base_url=URL, transport=transport)
    say("two")
    copied = asyncio.run(sent_by(bare.with_options(timeout=5)))
    assert "openai-organization" not in copied.headers
    assert "x-whose" not in copied.headers


def test_a_secret_file_that_ends_in_a_newline_is_read_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f" {name.lower()}\r\n")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://voice.example/v1\n")
    transport = Scripted()
    one = offhook.Client(transport=transport)
    one.realtime.calls.hangup("rtc_1")
    headers = transport.request.headers
    assert transport.request.url.startswith("https://voice.example/v1/")
    assert headers["authorization"] == "Bearer api_key"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org_id", "project_id")
    assert one._webhook_secret == "webhook_secret"


@pytest.mark.parametrize("name", ["API_KEY", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"])
@pytest.mark.parametrize("kind", [offhook.Client, offhook.AsyncClient])
def test_an_environment_that_no_header_can_hold_is_a_setting_that_cannot_work(
    kind: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv(f"OPENAI_{name}", "X-One: sk-\x7f")
    with pytest.raises(ConfigError) as caught:
        kind(base_url=URL)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " "])
def test_an_empty_key_is_no_key(key: str) -> None:
    with pytest.raises(ConfigError, match="not set"):
        client(api_key=key)


def test_a_key_that_is_neither_text_nor_a_function_is_a_setting_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="api_key: is of the type bytes"):
        client(api_key=b"sk-secret")


async def later(key: Any) -> Any:
    return key


BAD_KEYS = [("sk-secret\n", "header"), ("sk-\u20ac", "header"), (b"sk-secret", "bytes"), (None, "None"), (" ", "empty")]


@pytest.mark.parametrize(("key", "told"), [*BAD_KEYS, (later, "asynchronous")])
def test_a_function_that_returns_what_is_no_key_is_a_setting_that_cannot_work(key: Any, told: str) -> None:
    transport = Scripted()
    one = client(transport, api_key=(lambda: key(None)) if callable(key) else lambda: key)
    calls = one.realtime.calls
    for ask in (calls.hangup, calls.with_raw_response.hangup, calls.with_streaming_response.hangup):
        with pytest.raises(ConfigError, match=f"api_key: .*{told}") as caught:
            ask("rtc_1").__enter__()
        assert "sk-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="api_key"), one.realtime.connect(call_id="rtc_1"):
        pass
    assert transport.requests == []


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(("key", "told"), BAD_KEYS)
def test_an_asynchronous_function_that_returns_no_key_is_told_of_alike(key: Any, told: str, waits: bool) -> None:
    async def test() -> None:
        transport = AsyncScripted()
        ask = (lambda: later(key)) if waits else (lambda: key)
        async with offhook.AsyncClient(api_key=ask, base_url=URL, transport=transport) as one:
            with pytest.raises(ConfigError, match=f"api_key: .*{told}"):
                await one.realtime.calls.hangup("rtc_1")
            with pytest.raises(ConfigError, match=f"api_key: .*{told}"):
                await one.realtime.connect(call_id="rtc_1").enter()
        assert transport.requests == []

    asyncio.run(test())


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_has_passed_already_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        sent("hangup", "rtc_1", timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        client(timeout=timeout)


def test_no_key_is_ever_shown() -> None:
    transport = Scripted([answer(401, b'{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}')])
    one = client(transport)
    with pytest.raises(offhook.AuthenticationError) as caught:
        one.realtime.calls.hangup("rtc_1", extra_headers={"Api-Key": KEY, "Cookie": KEY})
    assert caught.value.request is not None
    for shown in (
        repr(one),
        repr(caught.value),
        str(caught.value),
        repr(caught.value.request),
        repr(transport.request),
    ):
        assert KEY not in shown
    assert "authorization" in repr(transport.request)


def test_a_client_secret_is_not_shown_but_there() -> None:
    body = {"value": "ek_123", "expires_at": 1_800_000_000, "session": {"type": "transcription", "id": "sess_1"}}
    transport = Scripted([answer(200, json.dumps(body).encode())])
    secret = client(transport).realtime.client_secrets.create(
        expires_after=types.ExpiresAfter(seconds=60), session={"type": "transcription"}
    )
    assert json.loads(transport.request.body) == {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {"type": "transcription"},
    }
    assert (secret.value, secret.expires_at) == ("ek_123", 1_800_000_000)
    assert secret.session.id == "sess_1"
    assert "ek_123" not in repr(secret)


@pytest.mark.parametrize("body", [b"", b"{}", b"not json ek_123", b"[]", b"\xff", b'{"value":1,"expires_at":0}'])
def test_an_answer_that_is_no_client_secret_is_told_without_showing_it(body: bytes) -> None:
    with pytest.raises(offhook.APIResponseValidationError) as caught:
        client(Scripted([answer(200, body)])).realtime.client_secrets.create()
    assert "ek_123" not in str(caught.value)


def test_the_answer_of_create_names_the_call() -> None:
    transport = Scripted([answer(201, b"v=0\r\n", location="/v1/realtime/calls/rtc_u1_1", content_type="text/plain")])
    call = client(transport).realtime.calls.create(sdp="v=0")
    assert (call.text, call.content, call.read(), call.call_id) == ("v=0\r\n", b"v=0\r\n", b"v=0\r\n", "rtc_u1_1")


def test_raw_and_streamed_answers_have_everything() -> None:
    transport = Scripted([answer(200, b'{"a":"bcdefg"}', x_request_id="req_1", X_Two="2")])
    calls = client(transport).realtime.calls
    raw = calls.with_raw_response.hangup("rtc_1")
    assert (raw.status_code, raw.request_id, raw.json(), raw.retries_taken) == (200, "req_1", {"a": "bcdefg"}, 0)
    assert raw.headers["x-two"] == raw.headers["X-TWO"] == "2"
    assert (raw.is_closed, raw.parse(), raw.http_request.method) == (True, None, "POST")
    assert raw.http_request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(raw.http_request) + repr(raw.http_request.headers)
    with calls.with_streaming_response.create(sdp="v=0") as streamed:
        assert not streamed.is_closed
        assert list(streamed.iter_bytes()) == [b'{"a"', b':"bc', b"defg", b'"}']
    assert streamed.is_closed
    assert transport.opened[0].closed
    with calls.with_streaming_response.create(sdp="v=0") as streamed:
        assert streamed.parse().json() == {"a": "bcdefg"}
        assert streamed.text() == streamed.read().decode()


def test_an_answer_that_was_let_go_is_not_taken_for_an_empty_one() -> None:
    with client().realtime.calls.with_streaming_response.create(sdp="v=0") as streamed:
        pass
    for read in (streamed.read, streamed.text, streamed.parse, lambda: list(streamed.iter_bytes())):
        with pytest.raises(ValueError, match="let go"):
            read()

    async def test() -> None:
        async with offhook.AsyncClient(api_key=KEY, base_url=URL, transport=AsyncScripted()) as one:
            async with one.realtime.calls.with_streaming_response.create(sdp="v=0") as later:
                assert await later.read() == b""
            assert await later.read() == b""
            async with one.realtime.calls.with_streaming_response.create(sdp="v=0") as later:
                pass
            with pytest.raises(ValueError, match="let go"):
                await later.read()

    asyncio.run(test())


def test_a_streaming_method_sends_nothing_before_its_with() -> None:
    transport = Scripted()
    manager = client(transport).realtime.calls.with_streaming_response.hangup("rtc_1")
    assert transport.requests == []
    with manager:
        assert len(transport.requests) == 1


def test_asynchronous_raw_and_streamed_answers_are_the_same() -> None:
    async def test() -> None:
        transport = AsyncScripted([answer(200, b"v=0\r\n", x_request_id="req_1")])
        async with offhook.AsyncClient(api_key=KEY, base_url=URL, transport=transport) as one:
            raw = await one.realtime.calls.with_raw_response.create(sdp="v=0")
            assert (raw.request_id, raw.parse().text) == ("req_1", "v=0\r\n")
            async with one.realtime.calls.with_streaming_response.create(sdp="v=0") as streamed:
                assert [chunk async for chunk in streamed.iter_bytes()] == [b"v=0\r", b"\n"]
            assert transport.opened[0].closed
            async with one.realtime.calls.with_streaming_response.hangup("rtc_1") as streamed_none:
                assert await streamed_none.parse() is None

    asyncio.run(test())
