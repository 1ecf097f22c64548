"""A telephone for every test suite: the ``phone`` fixture of pytest.

A test that is a coroutine function gets an `AsyncHandset` and is run on its loop; any other gets a `Handset`. What the
network is like is said by a marker: ``@pytest.mark.phone(loss=0.02, jitter_ms=30, seed=7)``, with the members of
`PhoneOptions`. A test that fails shows its calls as a ladder.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from offhook.testing.application import Access
    from offhook.testing.handset import AsyncHandset
    from offhook.testing.sync import Handset

_HANDSET = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that keeps recordings."""
    group = parser.getgroup("offhook")
    group.addoption(
        "--phone-recordings",
        metavar="DIR",
        default=None,
        help="write the calls of failed tests there, as stereo WAV files and ladders",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "phone(**options): what the network of the phone fixture is like (offhook)")


@pytest.fixture
def phone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[AsyncHandset | Handset, None, None]:
    """A telephone, and a server behind it that an application under test is connected to.

    The environment tells the official SDK where the API is: ``OPENAI_BASE_URL``, ``OPENAI_API_KEY``,
    ``OPENAI_WEBHOOK_SECRET``; no proxy is asked for it, and nothing of a real account is sent.
    """
    _calm_numpy()
    from offhook.testing.box import PhoneOptions
    from offhook.testing.sync import Handset

    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("phone"))):
        options |= marker.kwargs
    chosen = PhoneOptions(**options)
    made = _awaited(chosen) if inspect.iscoroutinefunction(request.function) else Handset(chosen)
    with made as handset:
        request.node.stash[_HANDSET] = handset
        if chosen.to is None:
            _point_at(handset.access, monkeypatch)
        yield cast("AsyncHandset | Handset", handset)


def _point_at(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients find the server under test, whatever the machine's environment says of proxies and accounts."""
    monkeypatch.setenv("OPENAI_BASE_URL", access.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", access.api_key)
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", access.webhook_secret)
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    # Where both are set, libraries differ in which one counts.
    direct = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = ",".join(dict.fromkeys(filter(None, (*direct, "127.0.0.1"))))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, hosts)


def _awaited(options: Any) -> Any:
    """Return a context that starts an `AsyncHandset` on a loop of its own."""
    from contextlib import contextmanager

    from offhook.testing.clock import JumpLoop
    from offhook.testing.handset import AsyncHandset
    from offhook.testing.sync import close_loop

    @contextmanager
    def whole() -> Generator[AsyncHandset, None, None]:
        loop = asyncio.new_event_loop() if options.real else JumpLoop()
        try:
            handset = AsyncHandset(options)
            loop.run_until_complete(handset.start())
            try:
                yield handset
            finally:
                loop.run_until_complete(handset.stop())
            handset.check()
        finally:
            close_loop(loop)

    return whole()


def _calm_numpy() -> None:
    """Let numpy's arithmetic use one thread: several make the short work of a test slower, never faster."""
    if "numpy" not in sys.modules:
        from offhook.media.blas import one_thread

        one_thread()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let coroutine tests that use the telephone run on the telephone's loop.

    Whatever other plugins make of coroutines, and whether the test is marked for them, no other loop has its clock.
    """
    for item in items:
        if not isinstance(item, pytest.Function) or "phone" not in item.fixturenames:
            continue
        if inspect.iscoroutinefunction(item.function):
            setattr(item, "runtest", partial(_run, item, item.runtest))  # noqa: B010 - a method is replaced


def _run(item: pytest.Function, otherwise: Callable[[], None]) -> None:
    handset = item.stash.get(_HANDSET, None)
    if handset is None:  # another fixture of this name
        otherwise()
        return
    names = inspect.signature(item.function).parameters
    given = {name: item.funcargs[name] for name in names if name in item.funcargs}
    test = item.function if item.instance is None else item.function.__get__(item.instance)
    handset.loop.run_until_complete(test(**given))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the calls of a test that failed."""
    report = yield
    handset = item.stash.get(_HANDSET, None)
    if handset is None or call.when != "call" or not report.failed:
        return report
    report.sections.append(("phone", str(handset.ladder)))
    folder = item.config.getoption("--phone-recordings")
    if folder is not None:
        report.sections.append(("phone recordings", _keep(Path(folder), item.nodeid, handset)))
    return report


def _keep(folder: Path, nodeid: str, handset: Any) -> str:
    """Write what is to be kept of a test, and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "-", nodeid).strip("-")
    written = [folder / f"{name}.txt"]
    written[0].write_text(f"{handset.ladder}\n", encoding="utf-8")
    for number, call in enumerate(handset.calls, 1):
        written.append(folder / f"{name}-{number}.wav")
        call.save_recording(written[-1])
    return "\n".join(map(str, written))
