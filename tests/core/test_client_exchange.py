"""When the client sends again, how long it waits before, and what it raises in the end."""

from __future__ import annotations

import asyncio
import pickle
from email.utils import formatdate
from typing import Any

import pytest
from tests.scripted_transport import AsyncScripted, Jump, Outcome, Scripted, answer

import offhook

REFUSALS = {
    400: offhook.BadRequestError,
    401: offhook.AuthenticationError,
    403: offhook.PermissionDeniedError,
    404: offhook.NotFoundError,
    409: offhook.ConflictError,
    418: offhook.APIStatusError,
    422: offhook.UnprocessableEntityError,
    429: offhook.RateLimitError,
    500: offhook.InternalServerError,
    503: offhook.InternalServerError,
}
PASSING = [408, 409, 429, 500, 502, 503, 529]


def lost() -> offhook.APIConnectionError:
    return offhook.APIConnectionError("it broke")


class Run:
    """A hangup through a script of outcomes, with the sync client and with the async one."""

    def __init__(self, *outcomes: Outcome, chance: float = 0.0, **options: Any) -> None:
        self.outcomes = outcomes
        self.options = {"api_key": "sk-1", "base_url": "http://one.example/v1", **options}
        self.jump = Jump(chance=chance)
        self.transport = Scripted(list(outcomes))

    def hangup(self, **options: Any) -> None:
        one = offhook.Client(**self.options, transport=self.transport)
        one._surroundings = self.jump.surroundings()
        try:
            one.realtime.calls.hangup("rtc_1", **options)
        finally:
            asyncio.run(self._compare(options))

    async def _compare(self, options: dict[str, Any]) -> None:
        """The async client does the same, step for step."""
        jump = Jump(chance=self.jump.chance)
        transport = AsyncScripted(list(self.outcomes))
        one = offhook.AsyncClient(**self.options, transport=transport)
        one._surroundings = jump.surroundings()
        try:
            await one.realtime.calls.hangup("rtc_1", **options)
        except offhook.APIError:
            pass
        assert jump.pauses == self.jump.pauses
        assert [each.headers for each in transport.requests] == [each.headers for each in self.transport.requests]

    @property
    def counts(self) -> list[str]:
        return [each.headers["x-stainless-retry-count"] for each in self.transport.requests]


@pytest.mark.parametrize("status", PASSING)
def test_what_may_pass_is_sent_again_and_counted(status: int) -> None:
    run = Run(answer(status), answer(status), answer(200))
    run.hangup()
    assert run.counts == ["0", "1", "2"]
    assert run.jump.pauses == [0.5, 1.0]


def test_a_lost_connection_and_a_timeout_are_sent_again() -> None:
    run = Run(lost(), offhook.APITimeoutError("late"), answer(200))
    run.hangup()
    assert run.counts == ["0", "1", "2"]


@pytest.mark.parametrize("status", sorted(set(REFUSALS) - set(PASSING)))
def test_what_will_not_pass_is_raised_at_once(status: int) -> None:
    run = Run(answer(status))
    with pytest.raises(REFUSALS[status]):
        run.hangup()
    assert run.counts == ["0"]


@pytest.mark.parametrize("status", sorted(REFUSALS))
def test_every_status_has_its_error_with_all_that_the_server_said(status: int) -> None:
    body = (
        b'{"error":{"message":"No session found","type":"invalid_request_error","param":"","code":"call_id_not_found"}}'
    )
    run = Run(answer(status, body, X_Request_Id="req_1"))
    with pytest.raises(REFUSALS[status]) as caught:
        run.hangup(max_retries=0)
    error = caught.value
    assert type(error) is REFUSALS[status]
    assert (error.status_code, error.code, error.param) == (status, "call_id_not_found", "")
    assert (error.type, error.request_id) == ("invalid_request_error", "req_1")
    assert error.body == {
        "message": "No session found",
        "type": "invalid_request_error",
        "param": "",
        "code": "call_id_not_found",
    }
    assert "No session found" in str(error)
    assert error.request is run.transport.request


@pytest.mark.parametrize("body", [b"", b"<html>\r\n gone\x1b[31m</html>", b'{"error":"busy"}', b"[1]", b"\xff" * 5000])
def test_errors_of_no_known_shape_are_told_in_one_short_line(body: bytes) -> None:
    with pytest.raises(offhook.InternalServerError) as caught:
        Run(answer(500, body)).hangup(max_retries=0)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert caught.value.code is None


def test_the_last_refusal_is_raised_when_no_attempt_is_left() -> None:
    run = Run(answer(500), answer(500), answer(503))
    with pytest.raises(offhook.InternalServerError) as caught:
        run.hangup()
    assert caught.value.status_code == 503
    run = Run(lost(), lost(), offhook.APITimeoutError("late"))
    with pytest.raises(offhook.APITimeoutError):
        run.hangup()
    assert run.counts == ["0", "1", "2"]


@pytest.mark.parametrize(("client", "call", "sends"), [(2, None, 3), (0, None, 1), (2, 0, 1), (0, 1, 2), (9, None, 10)])
def test_how_often_is_the_clients_or_the_calls(client: int, call: int | None, sends: int) -> None:
    run = Run(answer(500), max_retries=client)
    with pytest.raises(offhook.InternalServerError):
        run.hangup(max_retries=call)
    assert len(run.counts) == sends


def test_pauses_double_up_to_eight_seconds_and_chance_takes_a_quarter_at_most() -> None:
    run = Run(answer(500), max_retries=7)
    with pytest.raises(offhook.InternalServerError):
        run.hangup()
    assert run.jump.pauses == [0.5, 1, 2, 4, 8, 8, 8]
    run = Run(answer(500), max_retries=2, chance=1.0)
    with pytest.raises(offhook.InternalServerError):
        run.hangup()
    assert run.jump.pauses == [0.375, 0.75]


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "7"}, 7),
        ({"retry_after_ms": "20", "retry_after": "7"}, 0.02),
        ({"retry_after": "120"}, 120),
        ({"retry_after": formatdate(1_800_000_030, usegmt=True)}, 30),
        ({"retry_after": "121"}, 0.5),
        ({"retry_after": "0"}, 0.5),
        ({"retry_after": "-5"}, 0.5),
        ({"retry_after": "soon"}, 0.5),
        ({"retry_after": "nan"}, 0.5),
        ({"retry_after": "9" * 400}, 0.5),
        ({"retry_after": formatdate(1_700_000_000, usegmt=True)}, 0.5),
        ({"retry_after_ms": "x", "retry_after": "3"}, 3),
    ],
)
def test_a_pause_that_the_server_asks_for_is_kept_when_it_can_be(headers: dict[str, str], pause_s: float) -> None:
    run = Run(answer(429, **headers), answer(200))
    run.hangup()
    assert run.jump.pauses == [pause_s]


def test_the_server_has_the_last_word_about_sending_again() -> None:
    run = Run(answer(500, x_should_retry="false"))
    with pytest.raises(offhook.InternalServerError):
        run.hangup()
    assert run.counts == ["0"]
    run = Run(answer(400, x_should_retry="true"), answer(200))
    run.hangup()
    assert run.counts == ["0", "1"]


def test_a_redirect_within_the_origin_is_followed_with_method_and_body() -> None:
    run = Run(answer(307, location="/v2/x?y=1"), answer(308, location="http://one.example:80/v3/z"), answer(200))
    run.hangup()
    assert [each.target for each in run.transport.requests] == ["/v1/realtime/calls/rtc_1/hangup", "/v2/x?y=1", "/v3/z"]
    assert {each.method for each in run.transport.requests} == {"POST"}
    assert {each.origin for each in run.transport.requests} == {"http://one.example"}


@pytest.mark.parametrize(
    "location",
    [
        "http://other.example/v1",
        "https://one.example/v1",
        "http://one.example:81/v1",
        "//other.example/v1",
        "http://one.example@other.example/",
        "http://[broken/",
        "ftp://one.example/",
        "http://one.example/a\x00b",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_key_goes_to_another_origin(location: str, status: int) -> None:
    run = Run(answer(status, location=location))
    with pytest.raises(offhook.RedirectError) as caught:
        run.hangup()
    assert len(run.transport.requests) == 1
    assert caught.value.status_code == status


def test_redirects_that_would_drop_the_body_or_never_end_are_refused() -> None:
    with pytest.raises(offhook.RedirectError, match="body"):
        Run(answer(302, location="/v2")).hangup()
    run = Run(answer(307, location="/v1"))
    with pytest.raises(offhook.RedirectError, match="again and again"):
        run.hangup()
    assert len(run.transport.requests) == 6


def test_a_streamed_refusal_is_an_error_too_and_is_let_go() -> None:
    transport = Scripted([answer(404, b'{"error":{"message":"gone","code":"call_id_not_found"}}')])
    one = offhook.Client(api_key="sk-1", transport=transport)
    with pytest.raises(offhook.NotFoundError, match="gone"), one.realtime.calls.with_streaming_response.hangup("rtc_1"):
        pass
    assert transport.opened[0].closed


def test_chance_is_between_nothing_and_one() -> None:
    chance = offhook.Client(api_key="sk-1", transport=Scripted())._surroundings.chance
    assert all(0 <= chance() < 1 for _ in range(1000))


@pytest.mark.parametrize(
    "outcome", [answer(404, b'{"error":{"code":"call_id_not_found"}}', x_request_id="req_1"), lost()]
)
def test_an_error_travels_to_another_process_without_the_key(outcome: Outcome) -> None:
    with pytest.raises(offhook.APIError) as caught:
        offhook.Client(api_key="sk-secret", transport=Scripted([outcome]), max_retries=0).realtime.calls.hangup("rtc_1")
    error = caught.value
    data = pickle.dumps(error)
    assert b"sk-secret" not in data
    arrived = pickle.loads(data)
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.code, arrived.body) == (str(error), error.code, error.body)
    assert arrived.request is None
    if isinstance(error, offhook.APIStatusError):
        assert (arrived.status_code, arrived.request_id) == (404, "req_1")
        assert arrived.headers["X-Request-Id"] == "req_1"
    closed = pickle.loads(pickle.dumps(offhook.ConnectionClosedError(1000, "over")))
    assert (closed.close_code, closed.reason) == (1000, "over")
