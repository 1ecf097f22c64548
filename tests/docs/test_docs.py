"""What the documentation shows is run."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from scripts.generate_docs import DOCS, PAGES
from tests.socket.live import SECRET, Live, run

import offhook
from offhook.cli import _parser
from offhook.config import load_config
from offhook.model.registry import choose_backend
from offhook.model_settings import model_options
from offhook.testing.handset import AsyncHandset
from offhook.testing.model import Calls
from offhook.testing.sync import Handset, JumpingTime

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")])
LONGEST_LINE = 132


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every offhook command of an indented block; a backslash joins lines, a # begins a remark."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        found += [(path.name, line) for line in re.findall(r"^    (offhook .*)$", text, re.MULTILINE)]
    return found


@pytest.mark.parametrize("name", PAGES)
def test_pages_made_from_the_code_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run scripts/generate-docs"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, ROOT / "bench" / "README.md"], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_tables_are_whole(path: Path) -> None:
    """A blank line ends a table: the rows behind it are shown as text full of bars."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line.startswith("|") and not before.startswith("|"):
            assert re.fullmatch(r"\|(-+\|)+", after), line


@pytest.mark.parametrize(("name", "command"), commands())
def test_commands_are_understood(name: str, command: str) -> None:
    arguments = _parser().parse_args(shlex.split(command, comments=True)[1:])
    if hasattr(arguments, "http"):
        load_config(vars(arguments), {})


def test_the_settings_file_can_be_read(tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "running.md", "toml")
    path = tmp_path / "offhook.toml"
    path.write_text(block, encoding="utf-8")
    config = load_config({}, {}, path)
    assert [project.id for project in config.projects] == ["proj_shop", "proj_clinic"]


def test_settings_named_in_the_text_exist() -> None:
    from offhook.config import SETTINGS, flag_of

    known = {flag_of(setting.name) for setting in SETTINGS} | {"--config", "--help", "--once"}
    known |= {"--say", "--hear", "--interrupt-after", "--listen-first", "--json", "--dtmf", "--hangup-after", "--bind"}
    known |= {"--phone-recordings", "--write-conformance"}
    for path in DOCUMENTS:
        for flag in re.findall(r"`(--[a-z-]+)", path.read_text(encoding="utf-8")):
            assert flag in known, (path.name, flag)


def test_the_base_url_of_the_moving_page_is_all_the_sdk_needs() -> None:
    (block,) = [each for each in blocks(DOCS / "moving.md", "python") if "OpenAI(" in each]
    names: dict[str, Any] = {}
    exec(block.replace("whsec_...", SECRET), names)
    assert str(names["client"].base_url) == "http://127.0.0.1:8080/v1/"


@pytest.mark.real_time
def test_the_telephone_of_the_calling_page_makes_a_call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "calling.md", "python")
    names: dict[str, Any] = {}
    exec(block, names)
    session = tmp_path / "session.json"
    session.write_text('{"type": "realtime"}', encoding="utf-8")

    async def test(one: Live) -> None:
        await names["main"](one.ready.sip)

    run(test, answer=f"always:{session}")
    assert re.fullmatch(r"answered \d+ ms after the last sound\n", capsys.readouterr().out)


@pytest.mark.real_time
def test_the_tests_of_the_testing_page_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, awaited = blocks(DOCS / "testing.md", "python")
    names: dict[str, Any] = {}
    exec(plain, names)
    exec(awaited, names)
    with Handset() as phone:
        names["test_offers_days"](phone)
        assert "which day" in str(phone.ladder)
    clock = JumpingTime()

    async def whole() -> None:
        async with AsyncHandset() as phone:
            monkeypatch.setenv("OPENAI_BASE_URL", phone.access.base_url)
            monkeypatch.setenv("OPENAI_API_KEY", phone.access.api_key)
            await names["test_books_an_appointment"](phone)

    try:
        clock.run(whole())
    finally:
        clock.close()


@pytest.mark.real_time
def test_the_application_of_the_answering_page_takes_a_booking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    application, function = blocks(DOCS / "answering.md", "python")
    names: dict[str, Any] = {"Literal": Literal, "DESKS": {}}
    exec(application, names)
    exec(function, names)
    parameters = offhook.Tool(names["to_a_human"]).definition.parameters
    assert parameters["properties"] == {"topic": {"type": "string", "enum": ["billing", "other"]}}
    clock = JumpingTime()

    async def whole() -> None:
        async with AsyncHandset() as phone:
            monkeypatch.setenv("OPENAI_BASE_URL", phone.access.base_url)
            monkeypatch.setenv("OPENAI_API_KEY", phone.access.api_key)
            monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", phone.access.webhook_secret)
            await phone.connect(names["app"])
            phone.model.hears("friday", Calls("book", {"day": "Friday", "guests": "2"}))
            phone.model.result("book", lambda booked: booked)
            call = await phone.dial("+15550001")
            await call.hears("how can I help")
            await call.says("the two of us on friday please")
            await call.hears("for 2 is booked")
            await call.hangup()
            blocked = await phone.dial("+15550001", caller="sip:+15550666@trunk.test")
            assert blocked.end.status == 603

    try:
        clock.run(whole())
    finally:
        clock.close()
    assert capsys.readouterr().out.startswith("the call is over:")


@pytest.mark.real_time
def test_the_program_and_the_test_of_the_quickstart_work(monkeypatch: pytest.MonkeyPatch) -> None:
    program, tried = blocks(DOCS / "quickstart.md", "python")
    agent = ModuleType("agent")
    exec(program, vars(agent))
    monkeypatch.setitem(sys.modules, "agent", agent)
    names: dict[str, Any] = {}
    exec(tried, names)
    clock = JumpingTime()

    async def whole() -> None:
        async with AsyncHandset() as phone:
            monkeypatch.setenv("OPENAI_BASE_URL", phone.access.base_url)
            monkeypatch.setenv("OPENAI_API_KEY", phone.access.api_key)
            monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", phone.access.webhook_secret)
            await names["test_tells_the_opening_hours"](phone)

    try:
        clock.run(whole())
    finally:
        clock.close()


def test_the_backend_of_the_backends_page_keeps_what_is_promised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend, tests = blocks(DOCS / "backends.md", "python")
    table, prices, entry = blocks(DOCS / "backends.md", "toml")
    made = ModuleType("my_package")
    exec(backend, vars(made))
    monkeypatch.setitem(sys.modules, "my_package", made)
    names = dict(vars(made))
    exec(tests, names)
    promises = names["TestMorse"]()
    checks = [name for name in dir(promises) if name.startswith("test_") and "failure" not in name]
    assert len(checks) > 8
    for check in checks:
        getattr(promises, check)()

    about = tmp_path / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    ((group, points),) = tomllib.loads(entry)["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "offhook.toml"
    currency, _, amounts = prices.partition("\n")
    text = f"models = 'scripted'\n{currency}\n" + table.replace('"local"', '"morse"') + amounts
    path.write_text(text, encoding="utf-8")
    config = load_config({}, {}, path)
    assert set(config.prices.of) == {"large", "cloud", "ears", "local"}
    report = choose_backend(model_options(config)).report()
    assert [each["backend"] for each in report["brain"]["order"]] == ["fast", "large"]
    assert [each["name"] for each in report["voice"]["order"]][1:] == ["morse at 600 Hz"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_lines_are_of_a_length_that_can_be_read(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert len(line) <= LONGEST_LINE or line.startswith(("|", "    ")), (number, len(line))
