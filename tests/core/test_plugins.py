"""Backends by name: ours and those of installed packages, made of their tables, refused with the line that mends it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from offhook.config import load_config
from offhook.errors import ConfigError
from offhook.model.cascade import Cascade
from offhook.model.local.gguf.brain import CONTEXT_TOKENS
from offhook.model.plugin import GROUP, OURS, ModelPlugin
from offhook.model.registry import choose_backend
from offhook.model.settings import PARTS
from offhook.model_settings import context_tokens, model_options

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
CODE = """
from collections.abc import AsyncIterator
from pathlib import Path
from offhook.errors import ConfigError
from offhook.model.plugin import ModelPlugin

class Wings:
    pass

class Parrot:
    def __init__(
        self, *, phrase: str, times: int = 1, folder: Path | None = None, seeds: str | Path = "",
        words: list[str] | tuple[int, ...] = (), wings: Wings | None = None,
    ) -> None:
        if times > 9:
            raise ConfigError("times", "is more than a parrot can do", "give 9 at most")
        if phrase == "bug":
            raise RuntimeError("out of seeds")
        self.name = f"parrot {phrase} {times} {folder}"
        if seeds or words:
            self.name += f" {seeds!r} {words}"

PARROT = ModelPlugin(llm=Parrot)
NONSENSE = 7
"""


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package with backends, as pip leaves it."""
    monkeypatch.delitem(sys.modules, "parrot_models", raising=False)
    (tmp_path / "parrot_models.py").write_text(CODE, encoding="utf-8")
    about = tmp_path / "parrot_models-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot-models\nVersion: 1.0\n", encoding="utf-8")
    names = ["parrot = parrot_models:PARROT", "nonsense = parrot_models:NONSENSE", "gone = parrot_models:GONE"]
    names += ["missing = parrot_seeds:ANY", "chat = parrot_models:NONSENSE"]
    (about / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *names, ""]), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def chosen(tmp_path: Path, toml: str, **flags: Any) -> dict[str, Any]:
    path = tmp_path / "offhook.toml"
    path.write_text(toml, encoding="utf-8")
    backend = choose_backend(model_options(load_config(flags, {}, path)))
    return backend.report()


def refusal(tmp_path: Path, toml: str, **flags: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        chosen(tmp_path, toml, **flags)
    problem = caught.value
    return f"{problem.key.removeprefix(f'{tmp_path}/')}: {problem.message} / {problem.mend}"


def test_ours_are_declared_as_those_of_any_other_package() -> None:
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"][GROUP]
    assert declared == dict(OURS)


@pytest.mark.usefixtures("parrot")
def test_a_backend_is_made_of_its_table(tmp_path: Path) -> None:
    report = chosen(
        tmp_path,
        """
        llm = "polly"
        models = "scripted"
        [backends.polly]
        plugin = "parrot"
        phrase = "hello"
        times = 3
        folder = "/srv"
        """,
    )
    assert report["brain"]["name"] == "parrot hello 3 /srv"
    assert report["ear"]["name"] == "scripted"


@pytest.mark.usefixtures("parrot")
def test_a_setting_of_one_type_or_another_is_taken_as_the_first_that_fits(tmp_path: Path) -> None:
    toml = "llm = 'parrot'\nmodels = 'scripted'\n[backends.parrot]\nphrase = 'hi'\nseeds = 'a'\nwords = [1, 2]"
    assert chosen(tmp_path, toml)["brain"]["name"] == "parrot hi 1 None 'a' (1, 2)"


@pytest.mark.usefixtures("parrot")
def test_several_take_turns_for_each_other_in_the_order_of_the_list_and_of_the_flags(tmp_path: Path) -> None:
    toml = """
    models = "scripted"
    llm = ["parrot", "quiet"]
    [backends.parrot]
    phrase = "a"
    [backends.quiet]
    plugin = "parrot"
    phrase = "b"
    """
    by_file, by_flags = chosen(tmp_path, toml), chosen(tmp_path, toml, llm=["quiet", "parrot"])
    assert [each["backend"] for each in by_file["brain"]["order"]] == ["parrot", "quiet"]
    assert by_flags["brain"]["name"] == "parrot b 1 None"


def test_our_own_go_by_their_names_and_by_tables(tmp_path: Path) -> None:
    toml = """
    llm = ["fast", "demo"]
    stt = "scripted"
    tts = ["cloud", "scripted"]
    [backends.fast]
    plugin = "chat"
    url = "http://127.0.0.1:1/v1/"
    model = "m"
    [backends.cloud]
    plugin = "speech"
    url = "http://127.0.0.1:2/v1"
    rate_hz = 16000
    """
    report = chosen(tmp_path, toml)
    assert [report[role]["name"] for role in ("ear", "brain", "voice")] == [
        "scripted",
        "m at http://127.0.0.1:1/v1",
        "tts-1 at http://127.0.0.1:2/v1",
    ]


def test_a_whole_backend_goes_by_its_name(tmp_path: Path) -> None:
    assert chosen(tmp_path, "backend = 'scripted'") == {"name": "scripted"}


@pytest.mark.parametrize(("member", "expected"), [("", CONTEXT_TOKENS), ("context_tokens = 2048", 2048)])
def test_a_conversation_is_no_longer_than_the_file_that_may_have_to_read_it(
    tmp_path: Path, member: str, expected: int
) -> None:
    path = tmp_path / "offhook.toml"
    path.write_text(
        f"llm = ['demo', 'file']\n[backends.file]\nplugin = 'gguf'\npath = 'm.gguf'\n{member}\n", encoding="utf-8"
    )
    assert context_tokens(load_config({}, {}, path)) == expected
    assert context_tokens(load_config({"llm": ["demo"]}, {}, path)) == 32_768


def test_an_upstream_is_a_whole_backend_by_name_too(tmp_path: Path) -> None:
    toml = "backend = 'up'\n[backends.up]\nplugin = 'relay'\nurl = 'ws://127.0.0.1:1'\ndialect = 'offhook'\n"
    report = chosen(tmp_path, toml)
    assert (report["name"], report["dialect"]) == ("relay", "offhook")
    assert "backends.up.dialect: invalid enum value 'own'" in refusal(tmp_path, toml.replace("'offhook'", "'own'"))
    assert "backends.up.url: 'ftp://a' is not a ws or wss" in refusal(
        tmp_path, toml.replace("ws://127.0.0.1:1", "ftp://a")
    )


FAST = "[backends.fast]\nplugin = 'chat'\nurl = 'http://127.0.0.1:1/v1'\n"


@pytest.mark.usefixtures("parrot")
@pytest.mark.parametrize(
    ("toml", "flags", "says"),
    [
        ("", {"llm": ["parot"]}, "--llm: there is no backend 'parot' / there are chat, demo, gguf, gone, local"),
        ("", {"llm": ["missing"]}, "'missing' cannot be loaded: ModuleNotFoundError: No module named 'parrot_seeds'"),
        ("", {"llm": ["missing"]}, "/ pip install --upgrade parrot-models"),
        ("", {"llm": ["gone"]}, "'gone' cannot be loaded: AttributeError"),
        ("", {"llm": ["nonsense"]}, "'nonsense' is no ModelPlugin but int / pip install --upgrade parrot-models"),
        ("", {"stt": ["demo"], "llm": ["demo"]}, "--stt: 'demo' is no speech to text: demo is language model"),
        ("", {"llm": ["parrot"]}, "phrase: is missing: parrot needs it / give it in [backends.parrot]"),
        ("[backends.parrot]\nphrase = 7", {"llm": ["parrot"]}, "offhook.toml: backends.parrot.phrase: expected `str`"),
        (
            "[backends.parrot]\nphrase = 'a'\ntimse = 2",
            {"llm": ["parrot"]},
            "backends.parrot.timse: is no setting of parrot / it has phrase, times, folder, seeds, words, wings",
        ),
        (
            "[backends.parrot]\nphrase = 'a'\ntimes = 10",
            {"llm": ["parrot"]},
            "backends.parrot.times: is more than a parrot can do / give 9 at most",
        ),
        ("[backends.parrot]\nphrase = 'bug'", {"llm": ["parrot"]}, "cannot be made: RuntimeError: out of seeds"),
        (
            "[backends.parrot]\nphrase = 'a'\nseeds = 3",
            {"llm": ["parrot"]},
            "backends.parrot.seeds: expected `path`, got `int`",
        ),
        (
            "[backends.parrot]\nphrase = 'a'\nwings = 2",
            {"llm": ["parrot"]},
            "backends.parrot.wings: expected `wings`, got `int`",
        ),
        ("", {"llm": ["chat"]}, "backends.chat.url: is missing: chat needs it / give it in [backends.chat]"),
        (FAST + "seconds = 0", {"llm": ["fast"]}, "backends.fast.seconds: expected `float` > 0.0"),
        (FAST.replace("http:", "ftp:"), {"llm": ["fast"]}, "backends.fast.url: 'ftp://127.0.0.1:1/v1' is not an http"),
        (FAST + "patience_seconds = -1", {}, "backends.fast.patience_seconds: is not a number up to 600"),
        ("backends = 7", {}, "backends: is not a table"),
        ("backends = {fast = 7}", {}, "backends.fast: is not a table"),
        ("[backends.'a b']", {}, "'a b' is no name of a backend"),
        ("[backends.parts]\nplugin = 'chat'", {}, "'parts' is the name of the three parts together"),
        ("", {"llm": ["fast", "fast"]}, "--llm: names a backend twice"),
        (FAST, {"llm": ["fast"], "llm_url": "http://127.0.0.1:1"}, "--llm-url: does not go with --llm"),
        ("", {"backend": "scripted", "stt_url": "http://127.0.0.1:1"}, "--stt-url: does not go with --backend"),
        ("", {"backend": "scripted", "tts": ["local"]}, "--tts: does not go with --backend / that one does it all"),
        ("", {"llm": ["demo"], "llm_gguf": "m.gguf"}, "--llm-gguf: does not go with --llm / name it too: --llm gguf"),
    ],
)
def test_what_cannot_work_refuses_to_start_with_the_line_that_mends_it(
    tmp_path: Path, toml: str, flags: dict[str, Any], says: str
) -> None:
    assert says in refusal(tmp_path, toml, **({"models": "scripted"} | flags))


@pytest.mark.parametrize("name", sorted(OURS))
def test_ours_can_be_loaded_and_play_a_role(name: str) -> None:
    from offhook.model.plugin import find_plugin

    plugin = find_plugin(name, "--x")
    assert isinstance(plugin, ModelPlugin)
    assert plugin.roles()


def test_every_part_of_a_cascade_says_how_its_order_does(tmp_path: Path) -> None:
    toml = "llm = 'demo'\nstt = 'scripted'\ntts = 'scripted'"
    path = tmp_path / "offhook.toml"
    path.write_text(toml, encoding="utf-8")
    backend = choose_backend(model_options(load_config({}, {}, path)))
    assert isinstance(backend, Cascade)
    assert [order.role for order in backend.orders] == list(PARTS)
