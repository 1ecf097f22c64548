"""An engine for model workers that does what a test asks of it, the bad things included. It runs inside the worker."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offhook.errors import ConfigError
from offhook.model.interface import ModelError


class Engine:
    def __init__(self) -> None:
        self.about: dict[str, Any] = {
            "pid": os.getpid(),
            "niceness": os.nice(0),
            "threads": os.environ["OMP_NUM_THREADS"],
        }
        self._served = 0

    def serve(self, task: dict[str, Any]) -> Iterator[dict[str, Any] | None]:  # noqa: C901 - a list of misdeeds
        self._served += 1
        match task["do"]:
            case "echo":
                yield {"served": self._served, "sound": task["sound"]}
            case "count":
                for number in range(task["to"]):
                    yield {"number": number}
            case "hold":  # until cancelled
                yield {"holding": True}
                while True:
                    time.sleep(0.001)
                    yield None
            case "print":
                sys.stdout.write("a library says hello\n")
                os.system("echo a program says hello")
                os.write(1, b"native code says hello\n")
                yield {"printed": True}
            case "die once":  # the path of a file; the next worker finds it
                path = Path(task["path"])
                if not path.exists():
                    path.write_text("")
                    os.kill(os.getpid(), signal.SIGKILL)
                yield {"served": self._served}
            case "begin and die":
                yield {"begun": True}
                os.kill(os.getpid(), signal.SIGKILL)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "garbage":
                os.write(3, b"GET / HTTP/1.1\r\n\r\n")  # where the frames go: the first number that was free
                yield None
            case "hang":
                time.sleep(60)
            case "fail":
                raise ModelError("unsupported_language", "Not this one.")
            case "bug":
                raise ZeroDivisionError
            case "flood":
                while True:
                    yield {"sound": bytes(4_000_000)}


def load(options: dict[str, Any]) -> Engine:
    if "broken_from" in options:  # the path of a file; a second worker finds it
        path = Path(options["broken_from"])
        if path.exists():
            raise ConfigError("--whisper-dir", "has gone", "bring it back")
        path.write_text("")
    if options.get("missing"):
        raise ConfigError("--models", "nothing is installed", "pip install 'offhook[local]'")
    if options.get("crashes"):
        raise RuntimeError("the weights are from the moon")
    return Engine()


class Talker:
    """A voice for tests: two samples a word; blanks have none, and "hold" goes on until it is cancelled."""

    def __init__(self) -> None:
        self.about: dict[str, Any] = {"voice": "talker"}

    def serve(self, task: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        asked = f"{task['voice']} {task['speed']}"
        for word in re.findall(r"\s+|\S+", task["text"]):
            if word == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            while word == "hold":
                yield {"pcm": b"\1\0", "rate_hz": 8000, "text": "hold ", "asked": asked}
                time.sleep(0.001)
            if word == "asked":
                word = asked
            yield {"pcm": b"" if word.isspace() else b"\1\0\2\0", "rate_hz": 8000, "text": word}


def talker(options: dict[str, Any]) -> Talker:
    return Talker()
