"""The fixture in other people's test suites."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import offhook

pytest_plugins = ["pytester"]

# An installed offhook is found by its entry point; a plugin is not to be named twice.
INSTALLED = any(point.value == "offhook.testing.plugin" for point in entry_points(group="pytest11"))
NAMED = () if INSTALLED else ("-p", "offhook.testing.plugin")


@pytest.fixture(autouse=True)
def _same_offhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the other processes import what this one has imported."""
    monkeypatch.setenv("PYTHONPATH", str(Path(offhook.__file__).parents[1]))


def suite(pytester: pytest.Pytester, text: str, *arguments: str) -> pytest.RunResult:
    """Run a test file in a process of its own."""
    pytester.makepyfile(text)
    return pytester.runpytest_subprocess(*NAMED, "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments)


def test_a_plain_test_and_a_coroutine_both_get_a_telephone(pytester: pytest.Pytester) -> None:
    result = suite(
        pytester,
        """
        import os
        import pytest

        def test_plain(phone):
            phone.model.hears("appointment", "For which day?")
            call = phone.dial("+15550001")
            call.says("an appointment please")
            call.hears("which day", within_ms=3000)
            assert os.environ["OPENAI_BASE_URL"] == phone.access.base_url

        async def test_coroutine(phone, tmp_path):
            phone.model.hears("appointment", "For which day?")
            call = await phone.dial("+15550001")
            await call.says("an appointment please")
            call.press("1")
            await call.hears("which day", within_ms=3000)
            await call.hangup()
            assert tmp_path.exists()

        class TestOfAClass:
            @pytest.mark.anyio
            async def test_marked_for_another_plugin(self, phone):
                call = await phone.dial()
                assert call.end is None

        @pytest.mark.parametrize("colour", ["red", "blue"])
        @pytest.mark.phone(loss=0.01, jitter_ms=20, seed=4)
        async def test_marked(phone, colour):
            phone.model.hears(colour, f"You said {colour}.")
            call = await phone.dial()
            await call.says(f"it is {colour}")
            await call.hears(f"said {colour}")
            assert phone.options.loss == 0.01
        """,
        "-W",
        "error",
    )
    result.assert_outcomes(passed=5)


def test_failing_tests_show_their_calls_and_say_whose_fault_it_was(pytester: pytest.Pytester) -> None:
    result = suite(
        pytester,
        """
        import pytest

        def test_not_heard(phone):
            phone.model.otherwise("We are closed.")
            call = phone.dial()
            call.says("are you open")
            call.hears("yes", within_ms=1500)

        async def answer(webhook):
            raise KeyError("no such tenant")

        @pytest.mark.phone(settings={"ring_seconds": 2.0})
        async def test_application(phone):
            await phone.connect(answer)
            await phone.dial()

        @pytest.mark.phone(wether="bad")
        def test_misspelt(phone):
            pass
        """,
        "--phone-recordings=kept",
    )
    result.assert_outcomes(failed=2, errors=1)
    lines = [
        "*unexpected keyword argument 'wether'*",
        '*NotHeardError: "yes" was not heard within 1500 ms*',
        "*- phone -*",
        "*caller*offhook*application*",
        "*INVITE*",
        '*says "are you open"*',
        "*input_audio_buffer.speech_stopped*",
        '*hears "We are closed."*',
        "*- phone recordings -*",
        "*the application failed: KeyError: 'no such tenant'*",
    ]
    result.stdout.fnmatch_lines(lines)
    kept = sorted(path.name.rpartition("test_")[2] for path in (pytester.path / "kept").iterdir())
    assert kept == ["application-1.wav", "application.txt", "not_heard-1.wav", "not_heard.txt"]


def test_the_plugin_costs_a_suite_without_telephones_nothing() -> None:
    code = (
        "import sys, offhook.testing.plugin; print(sorted({'numpy', 'starlette', 'offhook.server'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "[]\n"


def test_an_application_finds_the_telephone_behind_a_company_proxy_and_with_a_real_account(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-real")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-real")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: of the real account")
    result = suite(
        pytester,
        """
        import os
        from openai import AsyncOpenAI

        async def test_answered(phone):
            async def answer(webhook):
                async with AsyncOpenAI(max_retries=0) as client:
                    assert (client.organization, client.project) == (None, None)
                    await client.realtime.calls.accept(webhook.call_id, type="realtime")

            await phone.connect(answer)
            call = await phone.dial()
            assert call.end is None
            assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "intranet.example,127.0.0.1"
            assert "OPENAI_CUSTOM_HEADERS" not in os.environ

        def test_afterwards():
            assert os.environ["OPENAI_ORG_ID"] == "org-real"
        """,
    )
    result.assert_outcomes(passed=2)


def test_outcomes_in_the_application_are_those_of_the_test(pytester: pytest.Pytester) -> None:
    result = suite(
        pytester,
        """
        import pytest

        @pytest.mark.phone(settings={"ring_seconds": 2.0})
        async def test_failed(phone):
            async def answer(webhook):
                pytest.fail("said by the application")

            await phone.connect(answer)
            await phone.dial()

        @pytest.mark.phone(settings={"ring_seconds": 2.0})
        def test_did_not_raise(phone):
            posted = []

            async def app(scope, receive, send):
                if scope["type"] == "http":
                    posted.append(scope)
                    if len(posted) == 1:
                        with pytest.raises(KeyError):
                            await receive()

            phone.connect(app)
            phone.dial()

        @pytest.mark.phone(settings={"ring_seconds": 2.0})
        def test_skipped(phone):
            def answer(webhook):
                pytest.skip("said by the application")

            phone.connect(answer)
            phone.dial()
        """,
    )
    result.assert_outcomes(failed=2, skipped=1)
    result.stdout.fnmatch_lines(["*said by the application*", "*DID NOT RAISE*"])
