"""A GGUF file thinks in a worker process: what is refused at the start, what is streamed, what a crash costs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
from tests.socket.live import Live, Socket, live, part_of, until
from tests.socket.test_models import request
from tests.tiny_gguf import WORD, write_tiny_gguf

from offhook.config import load_config
from offhook.errors import ConfigError
from offhook.model.http import ModelServer
from offhook.model.interface import ModelError
from offhook.model.local.gguf import brain
from offhook.model.local.gguf.brain import GgufBrain, GgufOptions
from offhook.model.registry import ModelOptions, choose_backend
from offhook.session.inputs import GenerationFinished, TextProduced
from offhook.session.outputs import Generate
from offhook.testing.conformance import LanguageModelConformance
from offhook.wire.session import FunctionTool, ToolChoiceFunction

RUNS = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp is not installed: offhook[llm]")
TOOLS = (FunctionTool(name="hours"), FunctionTool(name="weather"))
FOR_EVER = request(instructions="Say it again and again.")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that is a GGUF file as far as anybody looks, and a runtime for it that is not llama.cpp."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    monkeypatch.setattr(brain, "ENGINE", "tests.socket.gguf_engine:load")
    (tmp_path / "xllamacpp").mkdir()
    (tmp_path / "xllamacpp" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return path


class TestGgufBrain(LanguageModelConformance):
    """What any language model promises."""

    long_turns = 20
    path: Path

    @pytest.fixture(autouse=True)
    def _installed(self, there: Path) -> None:
        self.path = there

    def make(self) -> GgufBrain:
        return GgufBrain(GgufOptions(self.path, 1))


def think(path: Path, test: Callable[[GgufBrain], Awaitable[None]], threads: int = 1) -> None:
    async def whole() -> None:
        async with asyncio.timeout(120):
            mind = GgufBrain(GgufOptions(path, threads))
            try:
                await mind.start()
                await test(mind)
            finally:
                await mind.stop()

    asyncio.run(whole())


async def said(mind: GgufBrain, wanted: Generate) -> str:
    outputs = [output async for output in mind.generate(wanted)]
    assert isinstance(outputs[-1], GenerationFinished)
    return "".join(output.text for output in outputs if isinstance(output, TextProduced))


async def begin(mind: GgufBrain, pieces: int = 5) -> None:
    """Listen to the beginning of an answer without end, and stop listening."""
    async with aclosing(cast("Any", mind.generate(FOR_EVER))) as outputs:
        for _ in range(pieces):
            await anext(outputs)


# -- the start


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        choose_backend(ModelOptions(which="scripted", gguf=GgufOptions(path)))
    return f"{refused.value.key}: {refused.value.message} -> {refused.value.mend}"


def test_a_missing_runtime_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("offhook.model.local.gguf.file.PACKAGE", "no_such_package")
    assert "-> pip install 'offhook[llm]'" in refusal(tmp_path / "model.gguf")


def test_a_missing_file_and_one_of_another_kind_are_refused_at_the_start(there: Path) -> None:
    assert "--llm-gguf: cannot read" in refusal(there.parent / "nothing.gguf")
    there.write_bytes(b"PK\3\4")
    assert "is no GGUF file" in refusal(there)


def test_a_model_that_cannot_be_loaded_refuses_to_start(there: Path) -> None:
    async def test(_: GgufBrain) -> None:
        pytest.fail("it started")

    with pytest.raises(ConfigError, match="cannot load it"):
        think(there, test, threads=13)


def test_only_one_of_two_brains_can_be_asked_for(there: Path) -> None:
    with pytest.raises(ConfigError, match="only one of them"):
        load_config({"llm_gguf": str(there), "llm_url": "http://127.0.0.1:1/v1"}, {})


def test_the_file_takes_the_place_of_the_demo_brain_and_is_named(there: Path) -> None:
    backend = choose_backend(ModelOptions(which="scripted", gguf=GgufOptions(there)))
    assert backend.report()["brain"] == {"name": "model.gguf", "workers": 0, "died": 0}
    assert backend.name == "model.gguf"


# -- the answers


@pytest.mark.parametrize(
    ("choice", "tools", "told"),
    [
        ("auto", "['hours', 'weather']", "auto"),
        (ToolChoiceFunction(name="weather"), "['weather']", "required"),
        (ToolChoiceFunction(name="nothing"), "[]", "None"),
    ],
)
def test_a_demanded_function_is_the_only_one_that_is_offered(there: Path, choice: Any, tools: str, told: str) -> None:
    async def test(mind: GgufBrain) -> None:
        assert await said(mind, request(tools=TOOLS, tool_choice=choice)) == f"tools={tools} choice={told}"

    think(there, test)


def test_a_worker_that_crashes_costs_its_answer_and_nothing_else(there: Path) -> None:
    async def test(mind: GgufBrain) -> None:
        (pid,) = mind.pids
        outputs = mind.generate(FOR_EVER)
        await anext(outputs)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ModelError):
            async for _ in outputs:
                pass
        await until(lambda: bool(mind.pids) and mind.pids != [pid])
        assert "choice" in await said(mind, request(tools=TOOLS))
        assert mind.report() == {"workers": 1, "died": 1}

    think(there, test)


def test_responses_that_come_together_after_a_crash_leave_no_connections_behind(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Symptom: each of them made connections of its own, and all but the last were never closed."""
    opened: list[ModelServer] = []

    class Counted(ModelServer):
        async def start(self) -> None:
            await super().start()
            opened.append(self)

        async def stop(self) -> None:
            await super().stop()
            await asyncio.sleep(0)  # connections take a moment to close
            opened.remove(self)

    monkeypatch.setattr(brain, "ModelServer", Counted)

    async def test(mind: GgufBrain) -> None:
        (pid,) = mind.pids
        await said(mind, request())
        os.kill(pid, signal.SIGKILL)
        await until(lambda: bool(mind.pids) and mind.pids != [pid])
        await asyncio.gather(*(said(mind, request()) for _ in range(3)))
        assert len(opened) == 1
        await mind.stop()
        assert opened == []

    think(there, test)


def test_between_two_workers_the_failure_is_said_in_words(there: Path) -> None:
    async def test(mind: GgufBrain) -> None:
        os.kill(mind.pids[0], signal.SIGKILL)
        await until(lambda: not mind.pids)
        with pytest.raises(ModelError, match="is being started again"):
            await said(mind, request())

    think(there, test)


def test_a_call_outlives_its_brain(there: Path) -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create(response={"instructions": "Say it again and again."})
            await socket.until("response.output_audio_transcript.delta")
            brain = part_of(one, "_mind")
            (pid,) = brain.pids
            os.kill(pid, signal.SIGKILL)
            assert (await socket.until("response.done"))[-1]["response"]["status"] == "failed"
            await connection.output_audio_buffer.clear()
            await until(lambda: brain.pids not in ([], [pid]))
            await connection.response.create()
            assert (await socket.until("response.done"))[-1]["response"]["status"] == "completed"
            assert one.server.health()["models"]["brain"]["died"] == 1
        assert call.end is None
        await call.hang_up()

    async def whole() -> None:
        async with asyncio.timeout(120), live(llm_gguf=str(there)) as one:
            await test(one)

    asyncio.run(whole())


# -- llama.cpp itself


@RUNS
def test_llama_cpp_streams_stops_and_remembers_what_it_has_read(tmp_path: Path) -> None:
    async def test(mind: GgufBrain) -> None:
        for _ in range(4):  # more than there are slots: one that went on would keep its slot
            await begin(mind)
        short = request(max_output_tokens=5)
        assert await said(mind, short) == (5 * WORD).strip()
        (*_, end) = [output async for output in mind.generate(short)]
        assert isinstance(end, GenerationFinished)
        assert end.reason == "max_output_tokens"
        assert end.usage is not None
        assert end.usage.input_token_details.cached_tokens >= end.usage.input_tokens - 1

    think(write_tiny_gguf(tmp_path / "tiny.gguf"), test)


@RUNS
def test_a_broken_file_refuses_to_start(tmp_path: Path) -> None:
    async def test(_: GgufBrain) -> None:
        pytest.fail("it started")

    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ConfigError, match="--llm-gguf"):
        think(path, test)
