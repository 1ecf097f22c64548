"""One worker process as the server sees it: it is started, talks in frames, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from offhook.errors import ConfigError, RemoteError
from offhook.model.local import frames, limits
from offhook.telemetry.log import FactLog

# One core a worker: it is the number of workers that says how many cores the models may take. No model is fetched.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}


class WorkerDiedError(RemoteError):
    """A worker is gone, hangs, or talks nonsense; the message says how that showed."""


class WorkerProcess:
    """A worker that was started; ``on_end`` is called when it is gone. Whoever starts it has to ``end`` it."""

    def __init__(self, process: asyncio.subprocess.Process, on_end: Callable[[], None], log: FactLog) -> None:
        self._process = process
        self._on_end = on_end
        self._log = log.bind(pid=process.pid)
        # A worker that says more than it is asked has to wait in its pipe.
        self._said: asyncio.Queue[frames.FromWorker | None] = asyncio.Queue(limits.FRAMES)
        self._last_words: deque[str] = deque(maxlen=limits.LAST_WORDS)
        self._over = ""
        self._readers = [asyncio.create_task(self._read_frames()), asyncio.create_task(self._read_errors())]

    @classmethod
    async def start(cls, engine: str, on_end: Callable[[], None], log: FactLog) -> WorkerProcess:
        """Start a worker; it says nothing before it was told what to load."""
        pipe = asyncio.subprocess.PIPE
        # The worker finds what this process finds, and nothing in the folder that it happens to be started in.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "offhook.model.local.worker", engine),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=os.environ | _ENVIRONMENT | {"PYTHONPATH": path},
        )
        return cls(process, on_end, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked anything."""
        return not self._over

    async def load(self, options: dict[str, Any], patience_s: float = limits.START_S) -> dict[str, Any]:
        """Let it load its engine; return what that says of itself. Raises ConfigError and WorkerDiedError."""
        self.say(frames.Load(options))
        match await self.hear(patience_s):
            case frames.Ready(about=about):
                return about
            case frames.Unusable(key=key, message=message, mend=mend):
                raise ConfigError(key, message, mend)
            case other:
                raise WorkerDiedError(f"it began with a {type(other).__name__} frame")

    def say(self, frame: frames.ToWorker) -> None:
        """Send a frame; one that it does not read any more is lost."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write(frames.pack(frame))

    async def hear(self, patience_s: float) -> frames.FromWorker:
        """Return its next frame. Raises WorkerDiedError when none will come."""
        try:
            async with asyncio.timeout(patience_s):
                frame = await self._said.get()
        except TimeoutError:
            raise WorkerDiedError(f"it said nothing for {patience_s:g} s") from None
        if frame is None:
            await self._process.wait()
            raise WorkerDiedError(self.death())
        return frame

    def death(self) -> str:
        """Say how it ended, with the last that it said to people."""
        status = self._process.returncode
        how = f"it was ended by signal {-status}" if status is not None and status < 0 else f"it left with {status}"
        return ", ".join(filter(None, (self._over, how, self._last_words[-1] if self._last_words else "")))

    async def end(self) -> None:
        """Close its input, which ends it; kill it when that does not help, or when it died of something else."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(limits.END_S):
                await self._process.wait()
        except TimeoutError:
            self._log.warning("model worker had to be killed")
        finally:
            self.kill()
            await self._process.wait()
            for reader in self._readers:
                reader.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)

    def kill(self) -> None:
        """End it without patience."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read_frames(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        try:
            while True:
                size_bytes = frames.body_bytes(await stream.readexactly(frames.HEADER_BYTES))
                await self._said.put(frames.read_from_worker(await stream.readexactly(size_bytes)))
        except frames.FrameError as failure:
            self._over = f"it sent no frame ({failure})"
            self.kill()
        except (asyncio.IncompleteReadError, OSError):
            self._over = "its pipe closed"
        self._on_end()
        await self._said.put(None)

    async def _read_errors(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with contextlib.suppress(OSError):
            while line := await _line(stream):
                words = line.decode(errors="replace").rstrip()
                self._last_words.append(words)
                self._log.debug("model worker says", words=words)


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError:
        return await stream.read(limits.LINE_BYTES)
