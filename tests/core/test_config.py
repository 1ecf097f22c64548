"""Settings: where they come from, in which order, and how bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from offhook.config import SETTINGS, Address, Config, load_config
from offhook.errors import ConfigError
from offhook.host.answer import AnswerAlways, AnswerByWebhook, AnswerReject


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "offhook.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_is_needed() -> None:
    config = load_config({}, {})
    assert config == Config()
    assert config.http == Address("127.0.0.1", 8080)
    assert isinstance(config.answer, AnswerByWebhook)


def test_a_flag_beats_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'ring_seconds = 1\nmax_calls = 1\nhttp = "127.0.0.1:1"\n')
    config = load_config({"ring_seconds": "3"}, {"OFFHOOK_RING_SECONDS": "2", "OFFHOOK_MAX_CALLS": "2"}, path)
    assert (config.ring_seconds, config.max_calls, config.http.port) == (3, 2, 1)


def test_a_space_behind_a_comma_belongs_to_no_key() -> None:
    """A key with a space in front can never match: HTTP takes it off the header."""
    assert load_config({}, {"OFFHOOK_API_KEY": "one, two"}).api_key == ("one", "two")
    assert load_config({}, {"OFFHOOK_WEBHOOK_SECRET": " new , old"}).webhook_secret == ("new", "old")
    with pytest.raises(ConfigError, match="OFFHOOK_API_KEY: needs some text"):
        load_config({}, {"OFFHOOK_API_KEY": "one, "})


def test_every_setting_has_a_text_for_people() -> None:
    assert all(each.metadata["help"] for each in SETTINGS)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"http": "8080"}, "--http"),
        ({"jitter_ms": "10"}, "--jitter-ms"),
        ({"jitter_ms": "121"}, "--jitter-ms"),
        ({"sip": "host:99999"}, "--sip"),
        ({"rtp_ports": "20000-10000"}, "--rtp-ports"),
        ({"rtp_ports": "lots"}, "--rtp-ports"),
        ({"public_address": "a b"}, "--public-address"),
        ({"public_address": "192.0.2.1:99999"}, "--public-address"),
        ({"allow": ["10.0.0.0/40"]}, "--allow"),
        ({"project": "a b"}, "--project"),
        ({"project": "a>;b"}, "--project"),
        ({"webhook_url": "ftp://x"}, "--webhook-url"),
        ({"webhook_url": "http://user:pw@x/"}, "--webhook-url"),
        ({"webhook_url": "http://exa mple/x"}, "--webhook-url"),
        ({"webhook_url": "http://ex^ample/"}, "--webhook-url"),
        ({"webhook_url": "http://%zz/"}, "--webhook-url"),
        ({"webhook_url": "http://256.1.1.1/"}, "--webhook-url"),
        ({"webhook_url": "http://[fe80::1%25eth0]/"}, "--webhook-url"),
        ({"webhook_url": "http://x/\n"}, "--webhook-url"),
        ({"webhook_url": "http://a..b/"}, "--webhook-url"),
        ({"webhook_secret": ["whsec_%%%"]}, "webhook_secret"),
        ({"answer": "maybe"}, "--answer"),
        ({"answer": "reject:200"}, "--answer"),
        ({"answer": "always:/does/not/exist.json"}, "--answer"),
        ({"ring_seconds": "soon"}, "--ring-seconds"),
        ({"ring_status": "200"}, "--ring-status"),
        ({"max_calls": "1.5"}, "--max-calls"),
        ({"models": "clever"}, "--models"),
        ({"log_level": "loud"}, "--log-level"),
        ({"http": "0.0.0.0:80"}, "--api-key"),
        ({"strict_models": True}, "--strict-models"),
    ],
)
def test_a_bad_setting_is_refused_by_name(flags: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(flags, {})
    assert caught.value.key == named


def test_an_unknown_setting_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OFFHOOK_RING_SECOND: is no setting"):
        load_config({}, {"OFFHOOK_RING_SECOND": "1"})
    with pytest.raises(ConfigError, match="ring_second: is no setting"):
        load_config({}, {}, write(tmp_path, "ring_second = 1"))


@pytest.mark.parametrize(
    "url", ["http://h_h:80/x", "https://büro.example/", "http://[::1]:8/", "http://127.0.0.1/%7Ex?a=b", "http://a.b."]
)
def test_a_url_that_a_client_takes_is_taken(url: str) -> None:
    assert load_config({"webhook_url": url}, {}).webhook_url == url


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config({}, {}, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config({}, {}, write(tmp_path, "= 1"))


def test_answers_of_the_server_itself(tmp_path: Path) -> None:
    session = tmp_path / "session.json"
    session.write_text('{"type": "realtime", "instructions": "Hi"}', encoding="utf-8")
    answer = load_config({"answer": f"always:{session}"}, {}).answer
    assert isinstance(answer, AnswerAlways)
    assert answer.params.instructions == "Hi"
    assert load_config({"answer": "reject:486"}, {}).answer == AnswerReject(486)
    session.write_text('{"type": "realtime", "max_output_tokens": 0}', encoding="utf-8")
    with pytest.raises(ConfigError, match="max_output_tokens"):
        load_config({"answer": f"always:{session}"}, {})


def test_several_projects(tmp_path: Path) -> None:
    text = """
    [projects.proj_a]
    api_keys = ["sk-a"]
    webhook_url = "http://127.0.0.1:9000/hook"
    webhook_secrets = ["new", "old"]
    [projects.proj_b]
    api_keys = ["sk-b"]
    """
    config = load_config({"http": "0.0.0.0:80"}, {}, write(tmp_path, text))
    assert [project.id for project in config.projects] == ["proj_a", "proj_b"]
    assert config.projects[0].webhook_secrets == ("new", "old")
    assert "sk-a" not in repr(config.projects)
    with pytest.raises(ConfigError, match="does not go with"):
        load_config({"api_key": ["x"]}, {}, write(tmp_path, text))
    with pytest.raises(ConfigError, match=r"projects\.proj_c\.api_keys: is missing"):
        load_config({}, {}, write(tmp_path, "[projects.proj_c]"))
    with pytest.raises(ConfigError, match="is no setting"):
        load_config({}, {}, write(tmp_path, "[projects.proj_c]\nkey = 1"))


def test_a_webhook_is_sent_to_the_url_as_it_was_given(tmp_path: Path) -> None:
    """An application whose path ends in a slash answers 404 or a redirect without it."""
    assert load_config({"webhook_url": "http://h/hook/"}, {}).webhook_url == "http://h/hook/"
    text = '[projects.p]\napi_keys = ["k"]\nwebhook_url = "http://h/hook/"\nwebhook_secrets = ["s"]'
    assert load_config({}, {}, write(tmp_path, text)).projects[0].webhook_url == "http://h/hook/"


@pytest.mark.parametrize("name", ["llm_url", "stt_url", "tts_url"])
def test_the_base_url_of_a_model_may_end_in_a_slash(name: str) -> None:
    assert getattr(load_config({name: "http://h/v1/"}, {}), name) == "http://h/v1"


def test_secrets_are_never_shown() -> None:
    config = load_config({"api_key": ["sk-secret"], "llm_key": "llm-secret"}, {})
    assert "secret" not in repr(config)


def test_loopback_is_told_from_the_world() -> None:
    assert Address("127.0.0.5", 1).is_loopback
    assert Address("::1", 1).is_loopback
    assert Address("localhost", 1).is_loopback
    assert not Address("0.0.0.0", 1).is_loopback
    assert not Address("example.com", 1).is_loopback
    assert str(Address("::1", 80)) == "[::1]:80"


@pytest.mark.parametrize("url", ["wss://api.openai.com", "ws://127.0.0.1:8080/v1/realtime?a=b", "https://here/"])
def test_a_relay_is_a_socket_or_the_same_in_http(url: str) -> None:
    config = load_config({"relay_url": url}, {"OFFHOOK_RELAY_KEY": "sk-there", "OFFHOOK_RELAY_DIALECT": "azure"})
    assert (config.relay_url, config.relay_key, config.relay_dialect) == (url, "sk-there", "azure")
    assert "sk-there" not in repr(config)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"relay_url": "api.openai.com"}, "--relay-url: 'api.openai.com' is not a ws or wss URL"),
        ({"relay_url": "wss:///path"}, "is not a ws or wss URL"),
        ({"relay_url": "ftp://there"}, "is not a ws or wss URL"),
        ({"relay_url": "wss://user:secret@there"}, "holds a user name or password"),
        ({"relay_url": "wss://there", "relay_dialect": "gemini"}, "--relay-dialect"),
        ({"relay_url": "wss://there", "llm_url": "http://there/v1"}, "--relay-url: does not go with --llm-url"),
        ({"relay_url": "wss://there", "stt": ["local"]}, "--relay-url: does not go with --stt"),
    ],
)
def test_a_relay_that_cannot_be_reached_or_is_not_alone_is_refused(flags: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(flags, {})
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)
