"""What can be known of a GGUF file and of its runtime before anything is loaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from offhook.errors import ConfigError

SETTING: Final = "--llm-gguf"
PACKAGE: Final = "xllamacpp"
INSTALL: Final = "pip install 'offhook[llm]'"
_MAGIC: Final = b"GGUF"


def check(path: Path) -> None:
    """Raise ConfigError with the line that mends it when this cannot be a model that runs here."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise ConfigError(SETTING, f"{PACKAGE}, which runs it, is not installed", INSTALL)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as failure:
        raise ConfigError(SETTING, f"cannot read {path}: {failure.strerror}", "give the path of a GGUF file") from None
    if magic != _MAGIC:
        raise ConfigError(SETTING, f"{path} is no GGUF file", "give a model in the format of llama.cpp")
