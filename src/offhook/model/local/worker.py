"""Inside a worker process: load one engine, then do tasks one after the other until the pipe closes.

    python -m offhook.model.local.worker MODULE:FUNCTION

The function is called once with the options of the pool and returns an `Engine`; it raises ConfigError when it cannot
load. Frames come in on standard input and go out on what was standard output; everything that a library prints goes to
standard error. The end of the input ends the process at once, whatever it is doing: a worker never outlives its server.
Signals of the terminal and of a service manager are for the server, which ends its workers when it has no more calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn, Protocol

from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local import frames, limits


class Engine(Protocol):
    """A model that is loaded and warm."""

    about: dict[str, Any]
    """What it says of itself: names and versions, for logs and for whoever asks the pool."""

    def serve(self, task: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """Yield the results of a task as they are known; None is a good moment to be cancelled. Raises ModelError."""
        ...


class Worker:
    """Reads tasks in one thread, so that a cancellation and the end are noticed at work; does them in the other."""

    def __init__(self, incoming: BinaryIO, outgoing: int, leave: Callable[[int], NoReturn] = os._exit) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._leave = leave
        self._asked: queue.SimpleQueue[frames.Load | frames.Serve] = queue.SimpleQueue()
        self._cancelled = 0

    def run(self, load: Callable[[dict[str, Any]], Engine]) -> None:
        """Load, then serve for ever."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        first = self._asked.get()
        assert isinstance(first, frames.Load)
        try:
            engine = load(first.options)
        except ConfigError as problem:
            self._say(frames.Unusable(problem.key, problem.message, problem.mend))
            self._leave(0)
        except Exception:  # whatever the models' libraries raise: the pool reads the traceback and starts another
            traceback.print_exc()
            self._leave(1)
        _give_back()
        self._say(frames.Ready(engine.about))
        while True:
            asked = self._asked.get()
            assert isinstance(asked, frames.Serve)
            self._serve(engine, asked)

    def _serve(self, engine: Engine, asked: frames.Serve) -> None:
        began_s = time.process_time()
        try:
            for result in engine.serve(asked.task):
                if asked.id == self._cancelled:
                    break
                if result is not None:
                    self._say(frames.Result(asked.id, result))
        except ModelError as failure:
            self._say(frames.Failed(asked.id, failure.code, failure.message))
        except Exception:  # this request has failed, the next may not
            traceback.print_exc()
            self._say(frames.Failed(asked.id, "server_error", "The model failed."))
        else:
            self._say(frames.Finished(asked.id, (time.process_time() - began_s) * 1000))

    def _say(self, frame: frames.FromWorker) -> None:
        data = memoryview(frames.pack(frame))
        try:
            while data:
                data = data[os.write(self._outgoing, data) :]
        except OSError:
            self._leave(0)

    def _listen(self) -> None:
        status = 0
        try:
            while len(header := self._incoming.read(frames.HEADER_BYTES)) == frames.HEADER_BYTES:
                body = self._incoming.read(frames.body_bytes(header))
                frame = frames.read_to_worker(body)
                if isinstance(frame, frames.Cancel):
                    self._cancelled = frame.id
                else:
                    self._asked.put(frame)
        except frames.FrameError:
            traceback.print_exc()
            status = 2
        except OSError:
            pass
        self._leave(status)


def _give_back() -> None:
    """Return to the system what loading took and let go: a fifth of a model's memory, which nobody else could use."""
    # Only the GNU library keeps so much, and only it can be asked.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def find(name: str) -> Callable[[dict[str, Any]], Engine]:
    """Return the function that ``module:function`` names."""
    module, _, function = name.partition(":")
    found: Callable[[dict[str, Any]], Engine] = getattr(importlib.import_module(module), function)
    return found


def main() -> None:
    """Be a worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(limits.NICENESS)
    # A library that prints must not print into the frames: they keep the pipe, everybody else gets standard error.
    outgoing = os.dup(1)
    os.dup2(2, 1)
    incoming = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    Worker(incoming, outgoing).run(find(sys.argv[1]))


if __name__ == "__main__":
    main()
