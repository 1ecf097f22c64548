"""offhook that counts on SIGUSR1: its asyncio tasks, its SIP transactions, and the objects of its own classes.

For ``soak.py`` only; its options are those of ``offhook``.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from typing import Any

from offhook.cli import main


def count_on_signal() -> None:
    """Have every server answer the signal with a line of numbers on standard output."""
    import offhook.server as module

    start = module.Server.start

    async def start_counting(self: Any) -> Any:
        ready = await start(self)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell, self)
        return ready

    module.Server.start = start_counting  # type: ignore[method-assign]


def tell(server: Any) -> None:
    """Write the numbers."""
    layer = server.agent._layer
    mine = sum(type(each).__module__.startswith("offhook") for each in gc.get_objects())
    print(len(asyncio.all_tasks()), len(layer.server) + len(layer.client), mine, flush=True)


if __name__ == "__main__":
    from offhook.media.blas import one_thread

    one_thread()
    count_on_signal()
    sys.exit(main())
