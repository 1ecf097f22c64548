"""The engine inside the worker: llama.cpp's own server on a loopback port, which only the holder of the key can use.

It streams, calls functions by the model's chat template, stops when its client goes away, and keeps what it has read of
each conversation, so that a turn costs the words that are new.
"""

from __future__ import annotations

import importlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local.gguf.file import PACKAGE, SETTING

# Conversations that are read and answered side by side; each has its part of the context.
SLOTS: Final = 2
# A small model that finds no end is stopped here: two minutes of speech.
MOST_TOKENS: Final = 512
# What was read of conversations that have no slot now: some thousand words of a small model each.
KEPT_MIB: Final = 512
_WARM_S: Final = 60.0


class Engine:
    """A loaded model. Requests go to its address; the worker itself has nothing to do but to live."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.about: dict[str, Any] = {"url": f"{server.listening_address}/v1"}

    def warm(self, key: str) -> None:
        """Let it say a word, so that no call pays for the first one. Raises ConfigError when it cannot."""
        body = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 1}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        url = f"{self.about['url']}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - our own server
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_WARM_S) as answer:
                answer.read()
        except OSError as failure:
            message = f"the model does not answer: {failure}"
            raise ConfigError(SETTING, message, "give an instruct model that has a chat template") from None

    def serve(self, task: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """Nothing is asked of the worker."""
        raise ModelError("server_error", f"A language model has no task {sorted(task)}.")


def load(options: dict[str, Any]) -> Engine:
    """Load ``path`` with ``threads``; ``context_tokens`` are for each conversation, ``key`` is for requests."""
    xllamacpp: Any = importlib.import_module(PACKAGE)
    wanted = xllamacpp.CommonParams()
    wanted.model.path = options["path"]
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.api_keys = [options["key"]]
    wanted.ui = wanted.endpoint_slots = False
    wanted.offline = True
    wanted.n_parallel = SLOTS
    wanted.n_ctx = SLOTS * options["context_tokens"]
    wanted.n_predict = MOST_TOKENS
    wanted.cache_ram_mib = KEPT_MIB
    # Nobody on a telephone waits for a model that thinks in silence.
    wanted.enable_reasoning = 0
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = options["threads"]
    wanted.verbosity = 0
    try:
        server = xllamacpp.Server(wanted)
    except Exception as failure:  # the library's errors have no common type
        message = f"cannot load {options['path']}: {failure}"
        raise ConfigError(SETTING, message, "is the file whole, and is there memory for it?") from None
    engine = Engine(server)
    engine.warm(options["key"])
    return engine
