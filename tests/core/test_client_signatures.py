"""Names and keyword arguments are those of the official package. What differs is listed here, with the reason."""

from __future__ import annotations

import inspect
from typing import Any

import openai
import pytest
from openai.resources.realtime import calls as their_calls
from openai.resources.realtime import client_secrets as their_secrets
from openai.resources.realtime import realtime as their_realtime
from openai.resources.webhooks import webhooks as their_webhooks
from tests.scripted_transport import Scripted

import offhook
import offhook.errors
from offhook.app import incoming, tool
from offhook.client import (
    async_calls,
    async_client,
    async_realtime,
    errors,
    events,
    sync_calls,
    sync_client,
    sync_realtime,
    webhooks,
)

# Every method takes these besides: a key under which a server may know a repetition, and a number of repetitions for
# one call, where the official package needs ``with_options``.
OURS = {"idempotency_key", "max_retries"}

CLIENT_LEFT_OUT = {
    "admin_api_key": "no route of this API takes one",
    "workload_identity": "cloud identities of the hosted service; a key function does it",
    "provider": "other vendors' dialects of other APIs",
    "data_residency": "a base URL of the hosted service; base_url does it",
    "http_client": "an object of one HTTP library; transport takes any",
    "_strict_response_validation": "private",
    "_enforce_credentials": "private",
}
CONNECT_LEFT_OUT = {
    "on_reconnecting": "a call's socket is gone with the call, and events are not sent twice: nothing to come back to",
    "max_retries": "as above",
    "initial_delay": "as above",
    "max_delay": "as above",
    "max_queue_size": "websocket_connection_options has max_queue",
}

CALLS = ["accept", "create", "hangup", "refer", "reject"]


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    return {name: each for name, each in inspect.signature(function).parameters.items() if name != "self"}


def assert_same(ours: Any, theirs: Any, *, left_out: set[str] = frozenset(), added: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    mine, official = parameters(ours), parameters(theirs)
    assert set(mine) == set(official) - set(left_out) | set(added)
    for name in set(mine) & set(official):
        assert mine[name].kind == official[name].kind, name
        required = official[name].default is inspect.Parameter.empty
        assert (mine[name].default is inspect.Parameter.empty) == required, name
    positional = [name for name, each in mine.items() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == [name for name in official if name in positional]


@pytest.mark.parametrize("name", CALLS)
def test_calls_have_the_official_parameters(name: str) -> None:
    assert_same(getattr(sync_calls.Calls, name), getattr(their_calls.Calls, name), added=OURS)
    assert_same(getattr(async_calls.AsyncCalls, name), getattr(their_calls.AsyncCalls, name), added=OURS)


def test_client_secrets_have_the_official_parameters() -> None:
    assert_same(sync_calls.ClientSecrets.create, their_secrets.ClientSecrets.create, added=OURS)
    assert_same(async_calls.AsyncClientSecrets.create, their_secrets.AsyncClientSecrets.create, added=OURS)


@pytest.mark.parametrize("name", ["unwrap", "verify_signature"])
def test_webhooks_have_the_official_parameters(name: str) -> None:
    assert_same(getattr(webhooks.Webhooks, name), getattr(their_webhooks.Webhooks, name))
    assert_same(getattr(webhooks.Webhooks, name), getattr(their_webhooks.AsyncWebhooks, name))


def test_clients_have_the_official_parameters() -> None:
    for ours, theirs in ((offhook.Client, openai.OpenAI), (offhook.AsyncClient, openai.AsyncOpenAI)):
        assert_same(ours.__init__, theirs.__init__, left_out=set(CLIENT_LEFT_OUT), added={"transport"})
        ours_now, official = parameters(ours.with_options), parameters(theirs.with_options)
        changeable = set(parameters(ours.__init__)) - {"transport"}
        # ``with_options`` of the official package adds to headers and queries by four names; ours replaces.
        assert set(ours_now) == changeable
        assert changeable - {"webhook_secret"} <= set(official)


def test_sockets_have_the_official_parameters() -> None:
    left_out = set(CONNECT_LEFT_OUT)
    assert_same(sync_client.Realtime.connect, their_realtime.Realtime.connect, left_out=left_out)
    assert_same(async_client.AsyncRealtime.connect, their_realtime.AsyncRealtime.connect, left_out=left_out)
    for name in ("recv", "recv_bytes", "send", "close"):
        for ours, theirs in (
            (sync_realtime.RealtimeConnection, their_realtime.RealtimeConnection),
            (async_realtime.AsyncRealtimeConnection, their_realtime.AsyncRealtimeConnection),
        ):
            assert_same(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (events.SessionEvents, their_realtime.RealtimeSessionResource),
        (events.ResponseEvents, their_realtime.RealtimeResponseResource),
        (events.InputAudioBufferEvents, their_realtime.RealtimeInputAudioBufferResource),
        (events.OutputAudioBufferEvents, their_realtime.RealtimeOutputAudioBufferResource),
        (events.ConversationItemEvents, their_realtime.RealtimeConversationItemResource),
    ],
)
def test_client_events_have_the_official_parameters(ours: type, theirs: type) -> None:
    names = {name for name in vars(theirs) if not name.startswith("_")}
    assert {name for name in vars(ours) if not name.startswith("_")} == names
    for name in names:
        assert_same(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize(
    ("sync", "async_"),
    [
        (sync_calls.Calls, async_calls.AsyncCalls),
        (sync_calls.ClientSecrets, async_calls.AsyncClientSecrets),
        (sync_client.Realtime, async_client.AsyncRealtime),
        (sync_client.Client, async_client.AsyncClient),
        (sync_realtime.RealtimeConnection, async_realtime.AsyncRealtimeConnection),
    ],
)
def test_both_clients_are_one(sync: type, async_: type) -> None:
    names = {name for name, value in vars(sync).items() if not name.startswith("_") and inspect.isfunction(value)}
    assert names
    for name in names | {"__init__"}:
        one, other = getattr(sync, name), getattr(async_, name)
        assert list(parameters(one).items())[1:] == list(parameters(other).items())[1:] or name == "__init__"
        assert set(parameters(one)) == set(parameters(other))
    for name in set(CALLS) & names:
        assert getattr(sync, name).__doc__ == getattr(async_, name).__doc__


@pytest.mark.parametrize("name", CALLS)
def test_every_parameter_is_described(name: str) -> None:
    method = getattr(sync_calls.Calls, name)
    for parameter in parameters(method):
        assert f"\n    {parameter}: " in inspect.getdoc(method)


def test_raw_and_streaming_resources_have_every_method() -> None:
    one = offhook.Client(api_key="sk-1", transport=Scripted())
    for group in (one.realtime.calls.with_raw_response, one.realtime.calls.with_streaming_response):
        assert {name for name in vars(group) if not name.startswith("_")} == set(CALLS)


def test_errors_have_the_official_names() -> None:
    theirs = {name for name in openai.__all__ if name.endswith("Error")}
    ours = {name for name in vars(errors) if name.endswith("Error") and name in offhook.__all__}
    # Ours alone: a socket's end, a redirect that is not followed, and what all of them come from.
    assert ours - theirs == {"ConnectionClosedError", "RedirectError", "RemoteError"}
    # Theirs alone belong to other resources, but for the root.
    for name in theirs & ours:
        assert issubclass(getattr(offhook, name), offhook.APIError) == issubclass(
            getattr(openai, name), openai.APIError
        )


def test_every_error_that_an_application_can_meet_is_importable_from_the_top() -> None:
    places = (offhook.errors, errors, incoming, tool)
    found = [each for place in places for each in vars(place).values() if isinstance(each, type)]
    met = {each for each in found if issubclass(each, Exception) and each is not offhook.errors.ApiProblem}
    assert len(met) > 20
    for each in met:
        assert getattr(offhook, each.__name__) is each
        assert each.__name__ in offhook.__all__


def test_every_name_is_there_and_nothing_else() -> None:
    for name in offhook.__all__:
        assert getattr(offhook, name) is not None
    assert dir(offhook) == sorted(offhook.__all__)
    with pytest.raises(AttributeError):
        _ = offhook.nothing  # type: ignore[attr-defined]
    for name in offhook.types.__all__:
        assert getattr(offhook.types, name) is not None
