"""Keep numpy from starting threads of its own.

The media path multiplies small matrices every few milliseconds. The BLAS under numpy would split them over threads
that wait for each other, at two to five times the cost, and the plane has one thread anyway. The number is read when
numpy is loaded, so the server's entry point calls `one_thread` before anything imports numpy::

    from offhook.media.blas import one_thread

    one_thread()
"""

from __future__ import annotations

import os
import sys
from typing import Final

from offhook.errors import LocalError

_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def one_thread() -> None:
    """Let the BLAS under numpy use the calling thread only; what the environment already says is kept.

    Raises `LocalError` when numpy is loaded already and would not see it.
    """
    late = "numpy" in sys.modules and "OPENBLAS_NUM_THREADS" not in os.environ
    for name in _VARIABLES:
        os.environ.setdefault(name, "1")
    if late:
        raise LocalError(
            "numpy was imported before one_thread() was called: set OPENBLAS_NUM_THREADS=1 for the process"
        )
