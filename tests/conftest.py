"""What holds for all tests."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.matrix import SEEN

# The same examples every time, so that a change is judged by what it changed. HYPOTHESIS_PROFILE=explore looks further.
# No example has to be fast: how long one takes says more of the machine than of what is tried.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", UNHURRIED, derandomize=True)
settings.register_profile("explore", UNHURRIED, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Tests in these folders, and those marked real_time, meet real clocks, sockets, threads and other programs. One that
# fails is tried again: a defect is there every time, a stall of the machine is not. The summary names each such test
# and shows what it failed with. All others decide without any of these; there, one failure is a defect.
# ``--force-reruns 0`` tries nothing again.
REAL_TIME = {Path(__file__).parent / name for name in ("conformance", "interop", "socket", "testing")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the page be written that the tests of tests/core and tests/sim stand for."""
    parser.addoption("--write-conformance", action="store_true", help="write docs/conformance.md from what is seen")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks of our own."""
    config.addinivalue_line("markers", "judges_the_run: looks at what all other tests saw")
    config.addinivalue_line("markers", "obeys(kind, *paths): the test proves these fields of a client event")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have tests that run in real time tried again, and the judge of what all others saw run last."""
    items.sort(key=lambda item: item.get_closest_marker("judges_the_run") is not None)
    SEEN.begin(config, items)
    for item in items:
        real_time = item.get_closest_marker("real_time")
        if real_time is not None or item.path.parent in REAL_TIME:
            reruns = real_time.kwargs.get("reruns", 2) if real_time is not None else 2
            item.add_marker(pytest.mark.flaky(reruns=reruns, reruns_delay=1))


_failed_tries = contextlib.ExitStack()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Let nobody hear of what a failed try has left open, as it failed anyway."""
    if report.when == "call" and report.passed:
        SEEN.passed.add(report.nodeid)
    if report.outcome == "rerun":  # type: ignore[comparison-overlap]
        _failed_tries.enter_context(_forgotten())


def pytest_runtest_logfinish() -> None:
    """Collect what a failed try has left, before the next one."""
    _failed_tries.close()


@contextlib.contextmanager
def _forgotten() -> Iterator[None]:
    heard, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
            for name in ("last_exc", "last_traceback", "last_type", "last_value"):
                vars(sys).pop(name, None)
            gc.collect()
    finally:
        sys.unraisablehook = heard


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much the tests saw that look at everything within some bounds."""
    reports = terminalreporter.getreports("passed")
    for told in (value for report in reports for name, value in report.user_properties if name == "seen"):
        terminalreporter.write_line(f"seen: {told}")
