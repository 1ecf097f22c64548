"""What holds for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The same examples every time, so that a change is judged by what it changed. HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much the tests saw that look at everything within some bounds."""
    reports = terminalreporter.getreports("passed")
    for told in (value for report in reports for name, value in report.user_properties if name == "seen"):
        terminalreporter.write_line(f"seen: {told}")
