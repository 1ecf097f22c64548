"""offhook with everything that a call costs the audio plane done twice: judging, and the tick of its leg.

For ``capacity.py --overload`` only; its options are those of ``offhook``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from offhook.cli import main


def doubled(work: Callable[..., Any]) -> Callable[..., Any]:
    """Do the work, then spend the same time again without its effects."""

    def twice(*args: Any, **named: Any) -> Any:
        began = time.thread_time()
        result = work(*args, **named)
        until = 2 * time.thread_time() - began
        while time.thread_time() < until:
            pass
        return result

    return twice


def make_dear() -> None:
    """Replace the plane's step by a doubled one."""
    from offhook.media.plane import MediaPlane

    MediaPlane.step = doubled(MediaPlane.step)  # type: ignore[method-assign]


if __name__ == "__main__":
    from offhook.media.blas import one_thread

    one_thread()
    make_dear()
    sys.exit(main())
