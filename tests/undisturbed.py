"""For tests of unbroken sound in real time: a defect is there every time, a machine that was busy elsewhere is not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

TRIES = 4

P = ParamSpec("P")


def undisturbed(test: Callable[P, None]) -> Callable[P, None]:
    """Make a test of one whose sound must be right in one of some tries."""

    @functools.wraps(test)
    def tried(*args: P.args, **kwargs: P.kwargs) -> None:
        for left in reversed(range(TRIES)):
            try:
                return test(*args, **kwargs)
            except (AssertionError, ValueError):
                if not left:
                    raise
        return None

    return tried
